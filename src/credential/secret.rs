//! The one type that holds a key.

use std::fmt;

use zeroize::Zeroize;

/// A key. It has no `Display` and no `Serialize`, its `Debug` says `[secret]`, and its memory is wiped on drop.
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The key itself. Called where it joins an upstream connection, where a token is compared, and by the scrubber.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
