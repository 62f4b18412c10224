//! What a client says about itself: at the start of a session, or with each request.

use std::sync::Arc;

use super::Session;
use crate::call::ClientInfo;
use crate::json::{Json, JsonText};
use crate::mcp::message::Message;

impl Session {
    /// Remembers what the client says about itself.
    pub(super) fn meet(&mut self, initialize: &Message) {
        let Some(params) = initialize.params() else { return };
        let text = |pointer: &str| params.pointer(pointer).and_then(Json::as_str).map(|text| clip(&text));
        let client = Arc::make_mut(&mut self.base.client);
        client.name = text("/clientInfo/name");
        client.version = text("/clientInfo/version");
        client.protocol = text("/protocolVersion");
        self.capabilities = params.get("capabilities").map(JsonText::owned);
        self.registered.met(&self.base.client);
        self.api.iter().for_each(|api| api.met(&self.base.client));
    }
}

/// Text of a client about itself, short enough for a screen and a record.
fn clip(text: &str) -> String {
    text.chars().take(128).collect()
}

/// What a modern request says about its client.
pub(super) fn modern_client(message: &Message, base: &ClientInfo) -> Arc<ClientInfo> {
    let meta = message.params().and_then(|params| params.get("_meta"));
    let field = |name: &str| {
        let info = meta?.get("io.modelcontextprotocol/clientInfo")?;
        Some(clip(&info.get(name)?.as_str()?))
    };
    let (name, version) = (field("name"), field("version"));
    Arc::new(ClientInfo { name, version, protocol: message.modern_version().map(str::to_owned), ..base.clone() })
}

/// What the client of a modern request can do, as it says.
pub(super) fn declared(message: &Message) -> Option<JsonText> {
    message.params()?.get("_meta")?.get("io.modelcontextprotocol/clientCapabilities").map(JsonText::owned)
}
