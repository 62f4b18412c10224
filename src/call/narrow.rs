//! What two scopes cover together. Data only: `policies/scopes.rego` says what a scope covers.
//!
//! Invariant: the result covers no call that one of the two does not. Where no scope says exactly what both cover,
//! there is none.

use super::Class;

const CLASSES: [Class; 5] = [Class::Read, Class::Write, Class::Financial, Class::Destructive, Class::Unknown];
const SERVER_BYTES: usize = 64;
const WHAT_BYTES: usize = 128;

/// The one of `asked` and `own` that is within the other, part by part. Nothing where `asked` is no scope.
pub fn narrowed(asked: &str, own: &str) -> Option<String> {
    let ((server, what), (own_server, own_what)) = (parts(asked)?, parts(own)?);
    let server = match (server, own_server) {
        ("*", other) | (other, "*") => other,
        (one, other) => Some(one).filter(|one| *one == other)?,
    };
    let what = match (what, own_what) {
        ("*", other) | (other, "*") => other,
        (one, other) if one == other => one,
        // The name of a class never means an operation, so no pattern and no other name is within it.
        (one, other) if is_class(one) || is_class(other) => return None,
        (one, other) if covers(other, one) => one,
        (one, other) if covers(one, other) => other,
        _ => return None,
    };
    Some(format!("{server}/{what}"))
}

/// `SERVER/WHAT`, as the configuration has it.
fn parts(scope: &str) -> Option<(&str, &str)> {
    let (server, what) = scope.split_once('/')?;
    let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    let is_server = server == "*" || ((1..=SERVER_BYTES).contains(&server.len()) && server.bytes().all(named));
    let asks = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.*".contains(&byte);
    let is_what = (1..=WHAT_BYTES).contains(&what.len()) && what.bytes().all(asks);
    (is_server && is_what).then_some((server, what))
}

fn is_class(what: &str) -> bool {
    CLASSES.iter().any(|class| class.as_str() == what)
}

/// Whether a pattern covers a name, or everything that another pattern does: a `*` there is met by a `*` here alone.
fn covers(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        let Some(at) = rest.find(piece) else { return false };
        rest = rest.get(at + piece.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_scopes_cover_together_is_within_both() {
        for (asked, own, both) in [
            ("stripe/read", "stripe/read", Some("stripe/read")),
            ("stripe/read", "*/read", Some("stripe/read")),
            ("*/read", "stripe/read", Some("stripe/read")),
            ("*/*", "stripe/create_*", Some("stripe/create_*")),
            ("stripe/create_refund", "*/create_*", Some("stripe/create_refund")),
            ("stripe/create_*", "stripe/create_refund", Some("stripe/create_refund")),
            ("stripe/create_ref*", "stripe/create_*", Some("stripe/create_ref*")),
            ("stripe/*_refund", "stripe/create_*", None),
            ("stripe/a*b*c", "stripe/a*c", Some("stripe/a*b*c")),
            ("stripe/ab", "stripe/a*ab", None),
            ("stripe/read", "stripe/financial", None),
            ("stripe/read", "stripe/re*", None),
            ("stripe/create_refund", "stripe/financial", None),
            ("stripe/read", "statsig/read", None),
            ("openid", "*/*", None),
            ("stripe/", "*/*", None),
            ("/read", "*/*", None),
            ("stripe/a/b", "*/*", None),
            ("Stripe/read", "*/*", None),
            ("stripe/r ead", "*/*", None),
            ("stripe/ré", "*/*", None),
        ] {
            assert_eq!(narrowed(asked, own).as_deref(), both, "{asked} {own}");
            assert_eq!(narrowed(own, asked).as_deref(), both, "{own} {asked}");
        }
        assert_eq!(narrowed(&format!("stripe/{}", "x".repeat(129)), "*/*"), None);
    }
}
