//! The fonts of documents: which glyphs there are, and how wide they are.

use std::sync::Arc;

use skrifa::instance::{LocationRef, Size};
use skrifa::{FontRef, MetadataProvider as _};

use super::error::PdfError;

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

/// A font in memory.
#[derive(Clone)]
struct Face {
    bytes: Arc<Vec<u8>>,
    font: krilla::text::Font,
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Face").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Face {
    fn try_new(name: &str, bytes: Vec<u8>) -> Result<Self, PdfError> {
        let bytes = Arc::new(bytes);
        let refused = || PdfError::Font(name.to_owned());
        let font = krilla::text::Font::new(bytes.clone().into(), 0).ok_or_else(refused)?;
        FontRef::from_index(&bytes, 0).map_err(|_| refused())?;
        Ok(Self { bytes, font })
    }

    /// Width of a character as a part of the font's size; `None`: it has no glyph.
    fn advance(&self, character: char) -> Option<f32> {
        let font = FontRef::from_index(&self.bytes, 0).ok()?;
        let glyph = font.charmap().map(character)?;
        font.glyph_metrics(Size::new(1.0), LocationRef::default()).advance_width(glyph)
    }
}

/// Part of a text in one font.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Which one, for [`Fonts::font`].
    face: usize,
    /// The text.
    pub text: String,
    /// How wide at size 1.
    pub width: f32,
}

/// The fonts of documents. Clones share them.
#[derive(Debug, Clone)]
pub struct Fonts {
    /// Book, bold, and the one of the setting.
    faces: Arc<[Face]>,
}

impl Fonts {
    /// The built-in ones, and one more for characters that they lack.
    pub fn try_new(more: Option<(&str, Vec<u8>)>) -> Result<Self, PdfError> {
        let mut faces = vec![
            Face::try_new("DejaVu Sans Condensed", BOOK.to_vec())?,
            Face::try_new("DejaVu Sans Condensed Bold", BOLD.to_vec())?,
        ];
        if let Some((name, bytes)) = more {
            faces.push(Face::try_new(name, bytes)?);
        }
        Ok(Self { faces: faces.into() })
    }

    /// The font of a run.
    pub fn font(&self, run: &Run) -> Option<krilla::text::Font> {
        self.faces.get(run.face).map(|face| face.font.clone())
    }

    /// The text in runs, each of one font. `true`: something in it has no glyph anywhere and is a question
    /// mark now.
    pub fn runs(&self, text: &str, weight: Weight) -> (Vec<Run>, bool) {
        let first = usize::from(weight == Weight::Bold);
        let mut runs: Vec<Run> = Vec::new();
        let mut lacking = false;
        for character in text.chars().filter_map(printed) {
            let found = [first, 2].into_iter().find_map(|face| {
                self.faces
                    .get(face)
                    .and_then(|font| font.advance(character))
                    .map(|wide| (face, character, wide))
            });
            let (face, character, wide) = found.unwrap_or_else(|| {
                lacking = true;
                (first, '?', self.faces.get(first).and_then(|font| font.advance('?')).unwrap_or_default())
            });
            match runs.last_mut().filter(|run| run.face == face) {
                Some(run) => {
                    run.text.push(character);
                    run.width += wide;
                }
                None => runs.push(Run { face, text: character.to_string(), width: wide }),
            }
        }
        (runs, lacking)
    }

    /// How wide a text is at a size.
    pub fn width(&self, text: &str, weight: Weight, size: f32) -> f32 {
        self.runs(text, weight).0.iter().map(|run| run.width).sum::<f32>() * size
    }
}

/// What is printed of a character: white space as a space, and nothing of controls, which could turn a text
/// around.
fn printed(character: char) -> Option<char> {
    match character {
        '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}' => None,
        '\t' | '\n' | '\r' => Some(' '),
        control if control.is_control() => None,
        // No break is made there, and a space it is all the same.
        '\u{A0}' | '\u{202F}' => Some(' '),
        other => Some(other),
    }
}
