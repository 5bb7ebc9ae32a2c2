//! Characters of texts that people write: what cannot be stored, what makes a text look like another one, and
//! what nobody sees.

/// Can this character stand in no text at all? Control characters but line breaks and tabs (PostgreSQL cannot
/// even store U+0000), those that turn the direction of what follows around, and the separators that some
/// programs take for line breaks and others do not.
pub fn is_forbidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// Is it a character that is not seen itself (general category Cf) and has no place in a name or a subject?
/// The joiners of Persian, Indic scripts and emoji are left alone.
pub fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// What is wrong with a text of one line, such as a name: it may have no control or invisible characters, and
/// something of it must be seen.
pub fn check_line(text: &str) -> Result<(), &'static str> {
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters");
    }
    if text.chars().any(|c| is_forbidden(c) || is_invisible(c)) {
        return Err("must not contain invisible characters or ones that turn the direction of the text");
    }
    if !text.is_empty() && !text.chars().any(char::is_alphanumeric) {
        return Err("must contain a letter or a digit");
    }
    Ok(())
}

/// Does the text look like an address of the web, which mail programs make a link of?
pub fn has_address(text: &str) -> bool {
    let lower = text.to_lowercase();
    lower.contains("://") || lower.contains("www.") || text.contains(['/', '\\', '@']) || has_domain(&lower)
}

/// Letters or digits, a dot, and at least two letters right behind it: `evil.example`, but not `J. R. R.`,
/// `St. Ives` or `M.Sc`.
fn has_domain(text: &str) -> bool {
    text.match_indices('.').any(|(at, _)| {
        let before = text[..at].chars().rev().take_while(|c| c.is_alphanumeric() || *c == '-').count();
        let behind = text[at + 1..].chars().take_while(|c| c.is_alphabetic()).count();
        before >= 2 && behind >= 2
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_world_are_names() {
        for good in [
            "Ada",
            "O'Brien-Smith",
            "Nguyễn",
            "李",
            "محمد",
            "می‌خواهم",
            "J. R. R. Tolkien",
            "St. Ives",
            "M.Sc",
            "Doe, Jane",
        ] {
            assert_eq!(check_line(good), Ok(()), "{good}");
            assert!(!has_address(good), "{good}");
        }
    }

    #[test]
    fn what_deceives_the_eye_is_refused() {
        for bad in
            ["a\u{202e}b", "a\u{2028}b", "\u{200b}\u{200b}", "a\u{0}", "a\tb", "…", "a\u{feff}", "a\u{2066}b"]
        {
            assert!(check_line(bad).is_err(), "{bad:?}");
        }
        for bad in ["http://evil.example/x", "www.evil", "win at evil.example now", "a@b", "a/b", "evil.Co"] {
            assert!(has_address(bad), "{bad}");
        }
    }

    #[test]
    fn free_texts_may_have_lines_and_any_script() {
        assert!(!"two\nlines\tand 😀👩‍👩‍👧 \u{200f}שלום".chars().any(is_forbidden));
        assert!("\u{0}\u{7f}\u{85}\u{202e}\u{2069}".chars().all(is_forbidden));
    }
}
