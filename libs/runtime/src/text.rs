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

/// Top-level domains of the Internet, in lower case. A newer one is missed in capitals only.
static TOP_LEVEL_DOMAINS: &str = include_str!("../data/top_level_domains.txt");

/// Dots, and what stands for them in names of hosts.
const DOTS: [char; 4] = ['.', '\u{3002}', '\u{ff0e}', '\u{ff61}'];

/// Does the text look like an address of the web or of a mailbox, which mail programs make a link of?
pub fn has_address(text: &str) -> bool {
    let lower = text.to_lowercase();
    lower.contains("://") || lower.contains("www.") || text.contains(['/', '\\', '@']) || has_domain(text)
}

/// Is there a dot between what may be the name of a host and its top-level domain?
fn has_domain(text: &str) -> bool {
    text.match_indices(DOTS).any(|(at, dot)| {
        let before = text[..at].chars().rev().take_while(|c| c.is_alphanumeric() || *c == '-').count();
        let behind: String = text[at + dot.len()..].chars().take_while(|c| c.is_alphabetic()).collect();
        before >= 1 && is_top_level(&behind, before == 1)
    })
}

/// Is what follows a dot a top-level domain, and no name behind an abbreviation or an initial (`Md.Rahman`,
/// `J.Smith`, `M.Sc`)? In small letters all is one that may become one some day.
fn is_top_level(word: &str, behind_initial: bool) -> bool {
    let lower = word.to_lowercase();
    let small = word.starts_with(char::is_lowercase);
    let known = || TOP_LEVEL_DOMAINS.split_ascii_whitespace().any(|domain| domain == lower);
    match word.chars().count() {
        0 | 1 => false,
        _ if behind_initial && !small => matches!(lower.as_str(), "com" | "net" | "org"),
        _ if behind_initial => known(),
        _ => small || known(),
    }
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

    /// Titles, initials and abbreviations have dots, and many people write no space behind them.
    #[test]
    fn names_with_dots_are_names() {
        for good in [
            "Md.Rahman",
            "MD.RAHMAN",
            "Md. Kim",
            "J.R.",
            "J.R.R.Tolkien",
            "J.R.R. Tolkien",
            "O'Neil",
            "St.John",
            "St.-Pierre",
            "Müller-Lüdenscheidt",
            "Dr.Ali",
            "M.Sc",
            "M.Sc.",
            "B.Tech",
            "J.Kim",
            "o.brien",
            "Jr.",
            "Ph.D.",
            "Dipl.-Ing. Weiß",
            "A. P. J. Abdul Kalam",
            "ডা.রহমান",
            "डॉ.शर्मा",
            "Sammy Davis Jr.",
            "Smith.",
            "Ma.Theresa",
        ] {
            assert_eq!(check_line(good), Ok(()), "{good}");
            assert!(!has_address(good), "{good}");
        }
    }

    /// What mail programs make links of, also when it is dressed as a name.
    #[test]
    fn links_are_no_names() {
        for bad in [
            "http://evil.example/x",
            "HTTPS://X",
            "www.evil",
            "WWW.Evil",
            "win at evil.example now",
            "evil.Co",
            "EVIL.COM",
            "Evil.Com",
            "evil.co.uk",
            "bit.ly",
            "Bit.Ly",
            "t.co",
            "x.com",
            "X.COM",
            "a.b.Evil.Com",
            "evil-1.net",
            "evil.рф",
            "Ev1l.Xyz",
            "win.gold",
            "evil。com",
            "evil．Com",
            "a@b",
            "a/b",
            "evil.newdomain",
            "javascript:x//",
            "\\\\evil\\x",
        ] {
            assert!(has_address(bad), "{bad}");
        }
    }

    #[test]
    fn what_deceives_the_eye_is_refused() {
        for bad in
            ["a\u{202e}b", "a\u{2028}b", "\u{200b}\u{200b}", "a\u{0}", "a\tb", "…", "a\u{feff}", "a\u{2066}b"]
        {
            assert!(check_line(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn free_texts_may_have_lines_and_any_script() {
        assert!(!"two\nlines\tand 😀👩‍👩‍👧 \u{200f}שלום".chars().any(is_forbidden));
        assert!("\u{0}\u{7f}\u{85}\u{202e}\u{2069}".chars().all(is_forbidden));
    }
}
