//! The order of text in which scripts of both directions stand: the Unicode bidirectional algorithm.

use unicode_bidi::{BidiClass, BidiInfo, Level, bidi_class};

/// The direction of the paragraph that a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Latin and most others.
    LeftToRight,
    /// Arabic, Hebrew and some others.
    RightToLeft,
}

impl Base {
    /// That of the first letter which has one.
    pub fn of(paragraph: &str) -> Self {
        match unicode_bidi::get_base_direction(paragraph) {
            unicode_bidi::Direction::Rtl => Self::RightToLeft,
            unicode_bidi::Direction::Ltr | unicode_bidi::Direction::Mixed => Self::LeftToRight,
        }
    }
}

/// A part of a line in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// In the order in which it is read.
    pub text: &'a str,
    /// It is written from right to left.
    pub right_to_left: bool,
}

/// A mark that takes no place of its own.
pub fn is_mark(character: char) -> bool {
    bidi_class(character) == BidiClass::NSM
}

/// The parts of a line as they stand from left to right.
pub fn parts(line: &str, base: Base) -> Vec<Part<'_>> {
    let level = match base {
        Base::LeftToRight => Level::ltr(),
        Base::RightToLeft => Level::rtl(),
    };
    let info = BidiInfo::new(line, Some(level));
    let Some(paragraph) = info.paragraphs.first() else { return Vec::new() };
    let (levels, runs) = info.visual_runs(paragraph, paragraph.range.clone());
    runs.into_iter()
        .filter_map(|range| {
            let right_to_left = levels.get(range.start)?.is_rtl();
            Some(Part { text: line.get(range)?, right_to_left })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str, base: Base) -> Vec<(&str, bool)> {
        parts(line, base).into_iter().map(|part| (part.text, part.right_to_left)).collect()
    }

    /// BIL-19: digits among letters that are written from right to left keep their own order.
    #[test]
    fn digits_are_read_from_left_to_right_in_every_text() {
        let hebrew = "רחוב 12";
        assert_eq!(Base::of(hebrew), Base::RightToLeft);
        assert_eq!(shown(hebrew, Base::RightToLeft), [("12", false), ("רחוב ", true)]);
        assert_eq!(
            shown("شارع 11564 ب", Base::RightToLeft),
            [(" ب", true), ("11564", false), ("شارع ", true)]
        );
        assert_eq!(
            shown("for متجر 7 (a)", Base::LeftToRight),
            [("for ", false), ("7", false), ("متجر ", true), (" (a)", false)]
        );
        assert_eq!(Base::of("12 Main Street"), Base::LeftToRight);
        assert_eq!(shown("", Base::LeftToRight), []);
    }
}
