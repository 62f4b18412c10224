//! Signing a ruling, on the operator's side: the text is written here, from the hold that the operator has seen.

use std::path::PathBuf;

use crate::call::Digest;
use crate::console::visible;
use crate::control::wire::{HoldView, RulingKind, SignedBy};
use crate::signing::RulingText;
use crate::signing::tool::{self, SignError};

/// Who signs, and with what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signing {
    /// The name in the list of operators.
    pub operator: String,
    /// A private key's file, or a public key's whose private half the agent has.
    pub key: PathBuf,
}

impl Signing {
    /// For the question that comes before.
    pub fn words(&self) -> String {
        format!("Then signed as {} with {}", self.operator, self.key.display())
    }

    /// What stands above OpenSSH's own question. `clocks`: the time that the call has left, which has passed the escape
    /// function.
    pub fn prompt(&self, text: &str, clocks: Option<String>) -> String {
        let clocks = clocks.map(|clocks| format!("\nTime left now: {clocks}.")).unwrap_or_default();
        let (operator, key) = (visible::line(&self.operator), visible::line(&self.key.display().to_string()));
        let seconds = tool::PATIENCE.as_secs();
        format!(
            "\n{text}\nOpenSSH signs this as {operator} with {key}.\nIt may ask for a passphrase, a touch or a \
             confirmation, for {seconds} seconds; without an answer the call stays held.{clocks}\n"
        )
    }

    /// Asks OpenSSH for a signature, which asks the operator on this process's terminal.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn sign(&self, text: &str) -> Result<SignedBy, SignError> {
        let signature = tool::sign(&self.key, text).await?;
        Ok(SignedBy { operator: self.operator.clone(), signature })
    }
}

/// What an operator signs to rule on this hold. The daemon writes it anew from what it holds, and compares.
pub fn ruling_text(
    hold: &HoldView,
    instance: &Digest,
    ruling: RulingKind,
    operator: &str,
    reason: Option<&str>,
) -> String {
    text_of(hold, instance, ruling, operator, reason, None)
}

/// The same, to approve and to make a grant with this text.
pub fn grant_text(hold: &HoldView, instance: &Digest, operator: &str, reason: Option<&str>, grant: &str) -> String {
    text_of(hold, instance, RulingKind::Approve, operator, reason, Some(grant))
}

fn text_of(
    hold: &HoldView,
    instance: &Digest,
    ruling: RulingKind,
    operator: &str,
    reason: Option<&str>,
    grant: Option<&str>,
) -> String {
    let text = RulingText {
        instance,
        hold: &hold.id,
        digest: &hold.digest,
        definition: hold.definition.as_ref(),
        policy_version: &hold.policy_version,
        server: &hold.server,
        environment: &hold.environment.name,
        expires_at: &hold.expires_at,
        ruling: match ruling {
            RulingKind::Approve => "approve",
            RulingKind::Reject => "reject",
        },
        operator,
        // As the daemon reads it.
        reason: reason.map(str::trim).filter(|reason| !reason.is_empty()),
        taken_back: hold.taken_back,
        grant,
    };
    text.to_string()
}
