//! Documents as PDF: where text stands on a page, in which font. Knows no money and no clock: the same text
//! gives the same bytes (BIL-19).

mod error;
mod fonts;
mod layout;
mod paper;

pub use error::PdfError;
pub use fonts::Fonts;

use crate::domain::document::Document;

/// Said below a document in which characters had to be left out.
const UNPRINTABLE: &str = "Characters that the fonts of this document do not have are printed as “?”. \
     The invoice in your account shows them.";

/// Lays a document out and writes it.
pub fn render(document: &Document, fonts: &Fonts) -> Result<Vec<u8>, PdfError> {
    let mut sheets = layout::lay_out(document, fonts);
    if sheets.unprintable() {
        tracing::warn!(
            invoice.number = document.number,
            "characters without a glyph; INVOICE_FONT_FILE may name a font that has them"
        );
        let mut noted = document.clone();
        noted.notes.push(UNPRINTABLE.to_owned());
        sheets = layout::lay_out(&noted, fonts);
    }
    paper::write(document, &sheets, fonts)
}

#[cfg(test)]
mod tests;
