//! A secret of 128 bits as twelve words that people can write down and read aloud (BIP 39, the English list).
//!
//! ```text
//! words = 12 x 11 bits of: secret(128 bits) | the first 4 bits of SHA-256 of the secret
//! ```

use bip39::Language;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::PairError;

/// Words of a secret.
const WORDS: usize = 12;
/// Bits that one word stands for.
const BITS: usize = 11;
/// Bits of the last word that check the others.
const CHECK_BITS: usize = 4;
/// Letters that a word of the list may differ by and still be offered in its place.
const NEAR: usize = 2;
/// Words that are offered in the place of one that is not in the list.
const OFFERED: usize = 3;
/// Letters of a word that a message repeats.
const LETTERS_SHOWN: usize = 20;

/// The words of a secret, with a space between each two.
pub(super) fn words(secret: &[u8; 16]) -> Zeroizing<String> {
    let list = Language::English.word_list();
    let number = u128::from_be_bytes(*secret);
    let index = |at: usize| match at + 1 {
        WORDS => number << CHECK_BITS | u128::from(check(secret)),
        count => number >> (128 - count * BITS),
    };
    let mut text = Zeroizing::new(String::with_capacity(WORDS * 9));
    for at in 0..WORDS {
        if at > 0 {
            text.push(' ');
        }
        text.push_str(list[(index(at) & 0x7ff) as usize]);
    }
    text
}

/// The secret of these words. Capitals, line ends and the words' numbers do not matter.
pub(super) fn secret(text: &str) -> Result<Zeroizing<[u8; 16]>, PairError> {
    let typed: Vec<&str> = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).collect();
    if typed.len() != WORDS {
        return Err(PairError::WordCount(typed.len()));
    }
    let mut number: u128 = 0;
    let mut last = 0;
    for (at, word) in typed.iter().enumerate() {
        let word = Zeroizing::new(word.to_lowercase());
        let index = Language::English.find_word(&word).ok_or_else(|| PairError::Word {
            at: at + 1,
            word: word.chars().take(LETTERS_SHOWN).collect(),
            near: near(&word),
        })?;
        if at + 1 < WORDS {
            number = number << BITS | u128::from(index);
        } else {
            number = number << (BITS - CHECK_BITS) | u128::from(index >> CHECK_BITS);
            last = index;
        }
    }
    let secret = Zeroizing::new(number.to_be_bytes());
    if u16::from(check(&secret)) != last & 0xf {
        return Err(PairError::WordsDiffer);
    }
    Ok(secret)
}

fn check(secret: &[u8; 16]) -> u8 {
    Sha256::digest(secret)[0] >> (8 - CHECK_BITS)
}

/// The words of the list that are most like this one.
fn near(word: &str) -> Vec<&'static str> {
    let list = Language::English.word_list().iter();
    let mut near: Vec<(usize, &'static str)> = list.map(|known| (distance(word, known), *known)).collect();
    near.retain(|(distance, _)| *distance <= NEAR);
    near.sort();
    near.into_iter().take(OFFERED).map(|(_, word)| word).collect()
}

/// Letters to change, to add or to leave out to come from one word to the other (Levenshtein); more than [`NEAR`] where
/// their lengths say so already.
fn distance(word: &str, known: &str) -> usize {
    let word: Vec<char> = word.chars().take(LETTERS_SHOWN).collect();
    if word.len().abs_diff(known.len()) > NEAR {
        return NEAR + 1;
    }
    let mut row: Vec<usize> = (0..=word.len()).collect();
    for (y, letter) in known.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], y + 1);
        for (x, other) in word.iter().enumerate() {
            let changed = corner + usize::from(*other != letter);
            corner = row[x + 1];
            row[x + 1] = changed.min(row[x] + 1).min(corner + 1);
        }
    }
    row[word.len()]
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    /// The vectors of BIP 39 with 128 bits.
    #[test]
    fn known_answers() {
        for (hex, words) in [
            (
                "00000000000000000000000000000000",
                concat!(
                    "abandon abandon abandon abandon abandon abandon abandon ",
                    "abandon abandon abandon abandon about"
                ),
            ),
            (
                "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f",
                "legal winner thank year wave sausage worth useful legal winner thank yellow",
            ),
            ("ffffffffffffffffffffffffffffffff", "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo wrong"),
            (
                "9e885d952ad362caeb4efe34a8e91bd2",
                "ozone drill grab fiber curtain grace pudding thank cruise elder eight picnic",
            ),
        ] {
            let bytes: [u8; 16] = HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap();
            assert_eq!(*super::words(&bytes), words);
            assert_eq!(*secret(words).unwrap(), bytes);
        }
    }

    #[test]
    fn words_are_taken_as_people_type_them() {
        let typed = "1. Legal 2. WINNER\n3. thank year, wave;sausage\r\nworth useful\tlegal winner thank\n12. yellow ";
        assert_eq!(*secret(typed).unwrap(), [0x7f; 16]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let words: Vec<&str> =
            "legal winner thank year wave sausage worth useful legal winner thank yellow".split(' ').collect();
        let with = |at: usize, word: &'static str| {
            let mut words = words.clone();
            words[at] = word;
            secret(&words.join(" ")).unwrap_err()
        };
        let near = vec!["chunk", "thank", "hunt"];
        assert_eq!(with(2, "thunk"), PairError::Word { at: 3, word: "thunk".into(), near });
        assert_eq!(
            with(5, "sausge"),
            PairError::Word { at: 6, word: "sausge".into(), near: vec!["sausage", "cause", "gauge"] }
        );
        assert_eq!(with(0, "qqqqqqqq"), PairError::Word { at: 1, word: "qqqqqqqq".into(), near: vec![] });
        assert_eq!(with(0, "leader"), PairError::WordsDiffer);
        assert_eq!(secret(&words[1..].join(" ")), Err(PairError::WordCount(11)));
        assert_eq!(secret(""), Err(PairError::WordCount(0)));
        let mut swapped = words.clone();
        swapped.swap(3, 4);
        assert_eq!(secret(&swapped.join(" ")), Err(PairError::WordsDiffer));
        let long = "x".repeat(9_999);
        assert!(secret(&format!("{long} {}", words[1..].join(" "))).unwrap_err().to_string().len() < 200);
    }

    proptest! {
        #[test]
        fn every_secret_comes_back(bytes: [u8; 16]) {
            prop_assert_eq!(*secret(&super::words(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn garbage_is_refused(text: String) {
            let few = secret(&text);
            prop_assert!(few.is_err(), "{text}");
        }
    }
}
