//! What a key is looked for as: its spellings, and those of its parts that are keys by themselves.
//!
//! Invariant: pieces are looked for only where every part is secret. That a piece is taken out says that the key has it:
//! of a host, a path or a field's name everybody would hear that for nothing.

use zeroize::Zeroizing;

use super::view::View;
use super::{LOOK, PIECES_FROM};

/// One text that is looked for.
pub(super) struct Form {
    pub text: Zeroizing<Vec<u8>>,
    /// In what clients say as well. A line of a longer key is not.
    pub whole: bool,
    /// By its pieces too.
    pub pieces: bool,
}

/// Each text once.
#[derive(Default)]
struct Forms(Vec<Form>);

/// The key itself first.
pub(super) fn of(key: &str) -> Vec<Form> {
    let mut forms = Forms::default();
    forms.spelled(key.as_bytes(), is_token(key));
    if let Some(login) = login(key) {
        forms.login(login, key);
    }
    // A header's whole value: `Bearer TOKEN`.
    if let [_, token] = key.split_ascii_whitespace().collect::<Vec<_>>().as_slice()
        && token.len() >= PIECES_FROM
    {
        forms.spelled(token.as_bytes(), is_token(token));
    }
    if key.contains(['\n', '\r']) {
        // What a private key is called (RFC 7468) is no secret.
        let lines: Vec<&str> = key.split(['\n', '\r']).filter(|line| !line.starts_with("-----")).collect();
        forms.lines(&lines, false);
    }
    private_keys(key).for_each(|body| forms.lines(&body, true));
    forms.0
}

/// One word that is no address and no list of fields.
fn is_token(key: &str) -> bool {
    !key.contains(|letter: char| letter.is_whitespace() || letter == '"' || letter == ';') && !key.contains("://")
}

/// Who signs in, and with what, where the key is an address that says so.
fn login(key: &str) -> Option<&str> {
    let (scheme, rest) = key.split_once("://")?;
    let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte));
    let (login, _) = rest.split(['/', '?', '#']).next()?.rsplit_once('@')?;
    is_scheme.then_some(login)
}

/// The lines of each private key in PEM, also where the line ends are those of a JSON text.
fn private_keys(key: &str) -> impl Iterator<Item = Vec<&str>> {
    let bodies = key.split("-----BEGIN ").skip(1).filter_map(|block| {
        let (label, rest) = block.split_once("-----")?;
        label.contains("PRIVATE KEY").then(|| rest.split("-----END").next().unwrap_or_default())
    });
    bodies.map(|body| {
        let lines = body.split("\\n").flat_map(|part| part.split("\\r"));
        let lines = lines.flat_map(|part| part.split(['\n', '\r', '\\']));
        // `Proc-Type: 4,ENCRYPTED` and the like.
        lines.filter(|line| !line.contains(':')).collect()
    })
}

impl Forms {
    fn add(&mut self, text: Zeroizing<Vec<u8>>, whole: bool, pieces: bool) {
        match self.0.iter_mut().find(|form| form.text == text) {
            Some(form) => (form.whole, form.pieces) = (form.whole || whole, form.pieces || pieces),
            None if text.is_empty() => {}
            None => self.0.push(Form { text, whole, pieces }),
        }
    }

    /// A text and what it looks like inside encoded ones.
    fn spelled(&mut self, key: &[u8], pieces: bool) {
        self.add(Zeroizing::new(key.to_vec()), true, pieces);
        // Pieces of the encoding of fewer bytes are ordinary words.
        if key.len() < LOOK {
            return;
        }
        for alphabet in [STANDARD, URL_SAFE] {
            (0..3).for_each(|offset| self.add(base64_core(key, offset, alphabet), true, pieces));
        }
        for digits in [b"0123456789abcdef", b"0123456789ABCDEF"] {
            let digit = |nibble: u8| digits.get(usize::from(nibble)).copied().unwrap_or_default();
            let hex = key.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
            self.add(Zeroizing::new(hex), true, pieces);
        }
    }

    /// A login as it stands and in basic authentication, and the password by itself. A password that is short, or says
    /// what the address says elsewhere (`postgres:postgres`), would be found by chance.
    fn login(&mut self, login: &str, key: &str) {
        let (_, password) = login.split_once(':').unwrap_or(("", login));
        let least = if password.len() == login.len() { PIECES_FROM } else { LOOK };
        if password.len() < least || key.matches(password).count() > 1 {
            return;
        }
        for text in [login, password] {
            self.spelled(text.as_bytes(), text == password && is_token(text));
            if let Some(View { text: decoded, .. }) = View::percent(text.as_bytes()) {
                self.spelled(&decoded, text == password && std::str::from_utf8(&decoded).is_ok_and(is_token));
            }
        }
    }

    /// Each long line as whoever reads line by line sees it, and what they are in one.
    fn lines(&mut self, lines: &[&str], pieces: bool) {
        let mut joined = Zeroizing::new(Vec::with_capacity(lines.iter().map(|line| line.len()).sum()));
        for line in lines.iter().map(|line| line.trim().as_bytes()) {
            joined.extend_from_slice(line);
            if line.len() >= PIECES_FROM {
                self.add(Zeroizing::new(line.to_vec()), false, false);
            }
        }
        if joined.len() >= PIECES_FROM {
            self.spelled(&joined, pieces);
        }
    }
}

pub(super) const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
pub(super) const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The characters of the base64 of `key` that depend on nothing else, where it starts `offset` bytes (modulo 3) into
/// the encoded text.
fn base64_core(key: &[u8], offset: usize, alphabet: &[u8; 64]) -> Zeroizing<Vec<u8>> {
    let bit = |position: usize| key.get(position / 8).map_or(0, |byte| byte >> (7 - position % 8) & 1);
    // In bits from the start of the group that the key begins in.
    let (begin, end) = (8 * offset, 8 * (offset + key.len()));
    let (first, after) = (begin.div_ceil(6), end / 6);
    let letter = |index: usize| {
        let value = (0..6).fold(0, |value, place| value << 1 | bit(6 * index + place - begin));
        alphabet.get(usize::from(value)).copied().unwrap_or_default()
    };
    Zeroizing::new((first..after).map(letter).collect())
}
