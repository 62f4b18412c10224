//! Texts that read like other texts: letters of several alphabets in one word, words that look like ASCII and are not,
//! host names as the network spells them.
//!
//! What may not live here: the escape of hidden characters, which is `visible`'s. Pure; what it answers has passed the
//! escape function. Which letters look alike is Unicode's table (UTS 39), not ours.

use std::collections::BTreeSet;

use unicode_security::mixed_script::AugmentedScriptSet;
use unicode_security::skeleton;

use crate::console::visible;

/// Characters of a word that are looked at together; the longest e-mail address is shorter. A longer word is looked at in
/// pieces of this length, each of which begins in the middle of the one before.
const LOOKED_AT: usize = 320;
/// Pieces of a word that are looked at. A word that has more counts as odd.
const PIECES: usize = 1000;
/// Columns of a word in a warning.
const SHOWN: usize = 60;

/// What is odd about a word.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Odd {
    /// The word, and what it looks like or how else it is spelled.
    pub words: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Every character reads like one of ASCII, and one of them is not.
    LooksLike,
    /// Letters of alphabets that are not written together.
    Mixed,
    /// Latin letters beside Chinese, Japanese or Korean ones: common, and worth a look in an identifier.
    Beside,
    /// A host name with letters that the network spells otherwise.
    Host,
}

/// What is odd about a text, at most `limit` findings.
pub fn check(text: &str, limit: usize) -> BTreeSet<Odd> {
    let mut found = BTreeSet::new();
    if text.is_ascii() {
        return found;
    }
    let mut words = text.split_whitespace();
    let alone = words.next().is_some() && words.next().is_none();
    let ends = |letter: char| letter.is_whitespace() || ",;|\"'<>()".contains(letter);
    for whole in text.split(ends).filter(|word| !word.is_ascii()) {
        let (pieces, rest) = pieces(whole);
        for word in pieces.iter().filter(|word| !word.is_ascii()) {
            if found.len() >= limit {
                return found;
            }
            found.extend(mixed(word).or_else(|| looks_like(word, alone)));
            found.extend(host(word));
        }
        if rest > 0 && found.len() < limit {
            found.insert(odd(whole, &format!(" ({rest} characters more, not looked at)"), Kind::Mixed));
        }
    }
    found
}

/// What is looked at of a word, and how many characters are not.
fn pieces(word: &str) -> (Vec<String>, usize) {
    let letters: Vec<_> = word.chars().collect();
    let mut pieces = Vec::new();
    let mut rest = letters.as_slice();
    loop {
        pieces.push(rest.iter().take(LOOKED_AT).collect());
        if rest.len() <= LOOKED_AT {
            return (pieces, 0);
        }
        if pieces.len() >= PIECES {
            return (pieces, rest.len() - LOOKED_AT);
        }
        rest = rest.get(LOOKED_AT / 2..).unwrap_or_default();
    }
}

fn odd(word: &str, rest: &str, kind: Kind) -> Odd {
    Odd { words: format!("{}{rest}", visible::capped(word, SHOWN)), kind }
}

/// Letters of several alphabets in one word.
fn mixed(word: &str) -> Option<Odd> {
    let scripts = |keep: fn(&char) -> bool| {
        AugmentedScriptSet::for_str(
            &word.chars().filter(|letter| letter.is_alphanumeric()).filter(keep).collect::<String>(),
        )
    };
    if !scripts(|_| true).is_empty() {
        return None;
    }
    let rest = scripts(|letter| !is_latin(*letter));
    let kind = if rest.hanb || rest.jpan || rest.kore { Kind::Beside } else { Kind::Mixed };
    let strange: BTreeSet<_> = word.chars().filter(|letter| letter.is_alphanumeric() && !is_latin(*letter)).collect();
    let points: Vec<_> = strange.iter().take(4).map(|letter| format!("U+{:04X}", u32::from(*letter))).collect();
    let like = ascii_skeleton(word).map(|like| format!(", reads like {like}")).unwrap_or_default();
    Some(odd(word, &format!(" ({}){like}", points.join(" ")), kind))
}

fn is_latin(letter: char) -> bool {
    letter.is_ascii() || AugmentedScriptSet::for_char(letter) == AugmentedScriptSet::for_char('a')
}

/// A word of one alphabet that reads like ASCII all the same. In a text of several words a word is prose, unless it has
/// the form of a name.
fn looks_like(word: &str, alone: bool) -> Option<Odd> {
    let strange = |letter: char| !letter.is_ascii() && letter.is_alphanumeric();
    let named = word.chars().any(|letter| letter.is_ascii_digit() || matches!(letter, '@' | '.' | '_' | ':' | '/'));
    let separator = |letter: char| {
        !letter.is_ascii() && skeleton(letter.encode_utf8(&mut [0; 4])).eq(['.'])
            || !letter.is_ascii() && matches!(letter, '／' | '＠' | '：' | '∕' | '⁄')
    };
    let letters = word.chars().any(strange) && (named || alone && !word.chars().all(is_latin));
    let separators = word.chars().any(separator) && word.chars().any(|letter| letter.is_ascii_alphanumeric());
    if !letters && !separators {
        return None;
    }
    let like = ascii_skeleton(word)?;
    Some(odd(word, &format!(" is not {like}"), Kind::LooksLike))
}

/// What a word reads like, where that is ASCII.
fn ascii_skeleton(word: &str) -> Option<String> {
    let like: String = skeleton(word).collect();
    like.is_ascii().then(|| visible::capped(&like, SHOWN))
}

/// The host of a host name, an e-mail address or a URL with letters that are not ASCII.
fn host(word: &str) -> Option<Odd> {
    let rest = word.split_once("://").map_or(word, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let name = rest.split_once(':').map_or(rest, |(host, _)| host);
    let name = name.trim_matches(|letter: char| !letter.is_alphanumeric());
    let labels: Vec<_> = name.split(['.', '。', '．', '｡', '․']).collect();
    let is_name = labels.len() > 1
        && labels.iter().all(|label| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-'))
        && labels.last().is_some_and(|last| last.chars().all(char::is_alphabetic));
    if !is_name || name.is_ascii() {
        return None;
    }
    let spelled = idna::domain_to_ascii(name).unwrap_or_else(|_| "no host name".to_owned());
    Some(odd(name, &format!(" is {}", visible::capped(&spelled, SHOWN)), Kind::Host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(Kind, String)> {
        check(text, 100).into_iter().map(|odd| (odd.kind, odd.words)).collect()
    }

    #[test]
    fn letters_of_another_alphabet_in_a_word_are_named() {
        assert_eq!(words("cus_12\u{430}"), [(Kind::Mixed, "cus_12\u{430} (U+0430), reads like cus_l2a".to_owned())]);
        assert_eq!(words("p\u{430}y 7"), [(Kind::Mixed, "p\u{430}y (U+0430), reads like pay".to_owned())]);
        assert_eq!(words("テストabc")[0].0, Kind::Beside);
        // Greek and Cyrillic are no better without Latin.
        assert_eq!(words("α\u{434}")[0].0, Kind::Mixed);
    }

    #[test]
    fn a_word_that_only_looks_like_ascii_is_named() {
        // All of it is Cyrillic.
        assert_eq!(
            words("\u{430}\u{440}\u{440}\u{435}"),
            [(Kind::LooksLike, "аррe".replace('e', "\u{435}") + " is not appe")]
        );
        assert_eq!(words("user＠example")[0].0, Kind::LooksLike);
        assert_eq!(words("𝐚dmin")[0].0, Kind::LooksLike);
        assert_eq!(words("ad\u{131}_7")[0].0, Kind::LooksLike);
    }

    #[test]
    fn prose_is_prose() {
        for text in [
            "Überweisung für José",
            "это наша оса, а не их",
            "don’t – “never”…",
            "支払いを返す",
            "Yıldız",
            "결제 취소",
            "5 µs",
            "Ελλάδα",
        ] {
            assert_eq!(words(text), [], "{text}");
        }
    }

    #[test]
    fn hosts_are_spelled_as_the_network_spells_them() {
        assert_eq!(
            words("https://bücher.example/x?y=z"),
            [(Kind::Host, "bücher.example is xn--bcher-kva.example".to_owned())]
        );
        assert_eq!(words("anna@müller.de,"), [(Kind::Host, "müller.de is xn--mller-kva.de".to_owned())]);
        let found = words("http://\u{430}pple.com:8080");
        assert_eq!(found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [Kind::Mixed, Kind::Host]);
        assert!(found[1].1.ends_with("is xn--pple-43d.com"), "{found:?}");
        assert_eq!(words("Größe 1.5 und größer."), []);
    }

    #[test]
    fn a_letter_is_found_wherever_it_stands() {
        let odd = "eve@p\u{430}ypal.com";
        for between in [",", ";", "|", "\"", "'", "<", "(", "/"] {
            let text = format!("{}{odd}", format!("ann@example.com{between}").repeat(100));
            let found = words(&text);
            assert!(found.iter().any(|(kind, _)| *kind == Kind::Mixed), "{between}: {found:?}");
        }
        // What is too long to be looked at is not passed over in silence.
        let found = words(&("支".repeat(400_000) + "p\u{430}y"));
        assert!(found[0].1.ends_with("characters more, not looked at)"), "{found:?}");
    }

    #[test]
    fn what_is_said_is_bounded() {
        let text = "cus_\u{430} ".repeat(10_000) + &"\u{430}b".repeat(10_000);
        assert_eq!(check(&text, 100).len(), 2);
        let different: String = (0..500).map(|n| format!("{n}\u{430}b ")).collect();
        assert_eq!(check(&different, 100).len(), 100);
        assert!(check(&text, 100).iter().all(|odd| odd.words.len() < 1000));
    }
}
