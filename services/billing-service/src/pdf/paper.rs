//! Draws sheets with the PDF library.

use krilla::Document as Pdf;
use krilla::color::rgb;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::{DateTime, Metadata};
use krilla::page::PageSettings;
use krilla::paint::Fill;
use krilla::surface::Surface;
use krilla::text::TextDirection;

use super::error::PdfError;
use super::fonts::Fonts;
use super::layout::{HEIGHT, Ink, Mark, Sheets, WIDTH};
use crate::domain::document::Document;

/// Writes them.
pub fn write(document: &Document, sheets: &Sheets, fonts: &Fonts) -> Result<Vec<u8>, PdfError> {
    let mut pdf = Pdf::new();
    pdf.set_metadata(metadata(document));
    let settings = PageSettings::from_wh(WIDTH, HEIGHT).ok_or_else(|| PdfError::Write("no page".into()))?;
    for sheet in &sheets.sheets {
        let mut page = pdf.start_page_with(settings.clone());
        let mut surface = page.surface();
        for mark in sheet {
            draw(&mut surface, mark, fonts);
        }
        surface.finish();
        page.finish();
    }
    pdf.finish().map_err(|error| PdfError::Write(format!("{error:?}")))
}

/// The date is that of the document, so that its bytes do not depend on when it was asked for.
fn metadata(document: &Document) -> Metadata {
    let metadata = Metadata::new()
        .title(format!("{} {}", document.title, document.number))
        .authors(vec![document.seller.0.clone()])
        .language("en".into())
        .creator("SaaSOdoo".into());
    let Some(at) = document.issued_at.map(|at| at.to_offset(time::UtcOffset::UTC)) else { return metadata };
    let year = u16::try_from(at.year()).unwrap_or_default();
    let date = DateTime::new(year)
        .month(at.month().into())
        .day(at.day())
        .hour(at.hour())
        .minute(at.minute())
        .second(at.second())
        .utc_offset_hour(0)
        .utc_offset_minute(0);
    metadata.creation_date(date)
}

fn draw(surface: &mut Surface<'_>, mark: &Mark, fonts: &Fonts) {
    match mark {
        Mark::Text { x, y, size, ink, runs } => {
            surface.set_fill(Some(fill(*ink)));
            let mut x = *x;
            for run in runs {
                if let Some(font) = fonts.font(run) {
                    let from = Point::from_xy(x, *y);
                    let direction = if run.right_to_left {
                        TextDirection::RightToLeft
                    } else {
                        TextDirection::LeftToRight
                    };
                    surface.draw_text(from, font, *size, &run.text, false, direction);
                }
                x += run.width * size;
            }
        }
        Mark::Bar { x, y, width, height, ink } => {
            let Some(rect) = Rect::from_xywh(*x, *y, *width, *height) else { return };
            let mut path = PathBuilder::new();
            path.push_rect(rect);
            if let Some(path) = path.finish() {
                surface.set_fill(Some(fill(*ink)));
                surface.draw_path(&path);
            }
        }
    }
}

fn fill(ink: Ink) -> Fill {
    let (red, green, blue) = match ink {
        Ink::Dark => (24, 32, 44),
        Ink::Grey => (96, 108, 124),
        Ink::Pale => (216, 222, 230),
        Ink::Signal => (22, 120, 84),
    };
    Fill { paint: rgb::Color::new(red, green, blue).into(), ..Fill::default() }
}
