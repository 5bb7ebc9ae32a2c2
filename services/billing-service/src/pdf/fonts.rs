//! The fonts of documents: which glyphs there are, and how a text becomes runs of them.

mod bidi;
mod scripts;

use std::sync::Arc;

use rustybuzz::{Direction, UnicodeBuffer};

use super::error::PdfError;

pub use bidi::Base;

/// Book and bold of DejaVu Sans Condensed: Latin, Greek, Cyrillic, Arabic, Hebrew and many signs; its licence
/// lies beside it.
const BOOK: &[u8] = include_bytes!("../../fonts/DejaVuSansCondensed.ttf");
const BOLD: &[u8] = include_bytes!("../../fonts/DejaVuSansCondensed-Bold.ttf");

/// How thick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Text.
    Book,
    /// Heads and sums.
    Bold,
}

/// A font. Its bytes live as long as the process, because it is used until the end.
#[derive(Clone)]
struct Face {
    shaping: rustybuzz::Face<'static>,
    font: krilla::text::Font,
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Face").field("glyphs", &self.shaping.number_of_glyphs()).finish_non_exhaustive()
    }
}

impl Face {
    fn try_new(name: &str, bytes: &'static [u8]) -> Result<Self, PdfError> {
        let refused = || PdfError::Font(name.to_owned());
        let font = krilla::text::Font::new(bytes.into(), 0).ok_or_else(refused)?;
        let shaping = rustybuzz::Face::from_slice(bytes, 0).ok_or_else(refused)?;
        Ok(Self { shaping, font })
    }

    fn has(&self, character: char) -> bool {
        self.shaping.glyph_index(character).is_some()
    }

    /// Width of a text as a part of the font's size, with its letters joined as the script joins them.
    fn width(&self, text: &str, right_to_left: bool) -> f32 {
        let mut buffer = UnicodeBuffer::new();
        buffer.push_str(text);
        buffer.guess_segment_properties();
        buffer.set_direction(if right_to_left { Direction::RightToLeft } else { Direction::LeftToRight });
        let shaped = rustybuzz::shape(&self.shaping, &[], buffer);
        let units: i32 = shaped.glyph_positions().iter().map(|glyph| glyph.x_advance).sum();
        #[expect(clippy::cast_precision_loss, reason = "a line is some thousands of units wide")]
        let (width, em) = (units as f32, self.shaping.units_per_em() as f32);
        width / em
    }
}

/// Part of a text in one font and one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Which one, for [`Fonts::font`].
    face: usize,
    /// The text, in the order in which it is read.
    pub text: String,
    /// It is written from right to left.
    pub right_to_left: bool,
    /// How wide at size 1.
    pub width: f32,
}

/// The fonts of documents. Clones share them.
#[derive(Debug, Clone)]
pub struct Fonts {
    /// Book, bold, the one of the setting, then those of single scripts.
    faces: Arc<[Face]>,
}

impl Fonts {
    /// The built-in ones, and one more, which is asked before those of single scripts.
    pub fn try_new(more: Option<(&str, Vec<u8>)>) -> Result<Self, PdfError> {
        let mut faces = vec![
            Face::try_new("DejaVu Sans Condensed", BOOK)?,
            Face::try_new("DejaVu Sans Condensed Bold", BOLD)?,
        ];
        if let Some((name, bytes)) = more {
            faces.push(Face::try_new(name, bytes.leak())?);
        }
        for (name, bytes) in scripts::ALL {
            faces.push(Face::try_new(name, bytes)?);
        }
        Ok(Self { faces: faces.into() })
    }

    /// The font of a run.
    pub fn font(&self, run: &Run) -> Option<krilla::text::Font> {
        self.faces.get(run.face).map(|face| face.font.clone())
    }

    /// The text in runs as they stand from left to right. `true`: something in it has no glyph anywhere and
    /// is a question mark now.
    pub fn runs(&self, text: &str, base: Base, weight: Weight) -> (Vec<Run>, bool) {
        let shown: String = text.chars().filter_map(printed).collect();
        let mut runs = Vec::new();
        let mut lacking = false;
        for part in bidi::parts(&shown, base) {
            let mut in_fonts = self.in_fonts(part.text, weight, &mut lacking);
            if part.right_to_left {
                in_fonts.reverse();
            }
            for (face, text) in in_fonts {
                let width = self.faces.get(face).map_or(0.0, |font| font.width(&text, part.right_to_left));
                runs.push(Run { face, text, right_to_left: part.right_to_left, width });
            }
        }
        (runs, lacking)
    }

    /// A text of one direction, cut where its font changes, in the order in which it is read. A word is
    /// printed in one font where one has all of it, so that its letters can join.
    fn in_fonts(&self, text: &str, weight: Weight, lacking: &mut bool) -> Vec<(usize, String)> {
        let mut cut: Vec<(usize, String)> = Vec::new();
        for word in text.split_inclusive(' ') {
            let whole = self.asked(weight).find(|face| word.chars().all(|letter| self.has(*face, letter)));
            for letter in word.chars() {
                // A mark or a joiner is part of the letter before it.
                let before = cut
                    .last()
                    .map(|(face, _)| *face)
                    .filter(|face| Self::is_mark(letter) && self.has(*face, letter));
                let face =
                    whole.or(before).or_else(|| self.asked(weight).find(|face| self.has(*face, letter)));
                let (face, letter) = face.map_or_else(
                    || {
                        *lacking = true;
                        (first(weight), '?')
                    },
                    |face| (face, letter),
                );
                match cut.last_mut().filter(|(former, _)| *former == face) {
                    Some((_, run)) => run.push(letter),
                    None => cut.push((face, letter.to_string())),
                }
            }
        }
        cut
    }

    /// Fonts in the order in which they are asked for a letter.
    fn asked(&self, weight: Weight) -> impl Iterator<Item = usize> {
        std::iter::once(first(weight)).chain(2..self.faces.len())
    }

    fn has(&self, face: usize, letter: char) -> bool {
        joins(letter) || self.faces.get(face).is_some_and(|font| font.has(letter))
    }

    /// A mark on the letter before it, or a joiner: no line begins with one.
    pub fn is_mark(character: char) -> bool {
        joins(character) || bidi::is_mark(character)
    }

    /// How wide a text is at a size.
    pub fn width(&self, text: &str, weight: Weight, size: f32) -> f32 {
        self.runs(text, Base::LeftToRight, weight).0.iter().map(|run| run.width).sum::<f32>() * size
    }
}

fn first(weight: Weight) -> usize {
    usize::from(weight == Weight::Bold)
}

/// Characters that only change how those beside them are joined. They have no glyph of their own.
fn joins(character: char) -> bool {
    matches!(character, '\u{200C}' | '\u{200D}')
}

/// What is printed of a character: white space as a space, and nothing of controls, which could turn a text
/// around.
fn printed(character: char) -> Option<char> {
    match character {
        joiner if joins(joiner) => Some(joiner),
        '\u{61C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}'
        // Which of its pictures an emoji shows.
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' => None,
        '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}' => Some(' '),
        control if control.is_control() => None,
        // No break is made there, and a space it is all the same.
        '\u{A0}' | '\u{202F}' => Some(' '),
        other => Some(other),
    }
}
