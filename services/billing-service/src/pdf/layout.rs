//! Where each text of a document stands: A4, as many sheets as it takes.

use super::fonts::{Base, Fonts, Run, Weight};
use crate::domain::document::{Document, Item, Row};

/// A4 in points.
pub const WIDTH: f32 = 595.28;
/// A4 in points.
pub const HEIGHT: f32 = 841.89;
/// Left edge of the text.
const LEFT: f32 = 50.0;
/// Right edge of the text.
const RIGHT: f32 = WIDTH - 50.0;
/// First base line of a sheet.
const TOP: f32 = 64.0;
/// Right edges of quantity and unit price; the amount stands at the right edge of the text.
const QUANTITY: f32 = 365.0;
const UNIT: f32 = 455.0;
/// Where descriptions end and the columns of labels and values begin.
const DESCRIPTION: f32 = 325.0;
const LABEL: f32 = 355.0;
/// Size of text.
const TEXT: f32 = 9.5;
/// From one base line to the next.
const LEAD: f32 = 13.5;

/// A colour of the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Text.
    Dark,
    /// Labels.
    Grey,
    /// Lines.
    Pale,
    /// Stamps.
    Signal,
}

/// Something that is drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// Text from `x` on the base line `y`.
    Text {
        /// Where.
        x: f32,
        /// Where.
        y: f32,
        /// How large.
        size: f32,
        /// In which colour.
        ink: Ink,
        /// What.
        runs: Vec<Run>,
    },
    /// A filled box.
    Bar {
        /// Left.
        x: f32,
        /// Top.
        y: f32,
        /// Width.
        width: f32,
        /// Height.
        height: f32,
        /// In which colour.
        ink: Ink,
    },
}

/// All sheets of a document.
#[derive(Debug, Clone, Default)]
pub struct Sheets {
    /// What stands on each.
    pub sheets: Vec<Vec<Mark>>,
    unprintable: bool,
}

impl Sheets {
    /// A character has no glyph.
    pub fn unprintable(&self) -> bool {
        self.unprintable
    }
}

/// How text looks.
#[derive(Debug, Clone, Copy)]
struct Style {
    size: f32,
    weight: Weight,
    ink: Ink,
}

const PLAIN: Style = Style { size: TEXT, weight: Weight::Book, ink: Ink::Dark };
const STRONG: Style = Style { weight: Weight::Bold, ..PLAIN };
const QUIET: Style = Style { ink: Ink::Grey, ..PLAIN };
const SMALL: Style = Style { size: 8.0, weight: Weight::Book, ink: Ink::Grey };

/// A line of a paragraph: where the paragraph reads from right to left, all of its lines do.
#[derive(Debug, Clone)]
struct Line {
    text: String,
    base: Base,
}

struct Pen<'a> {
    fonts: &'a Fonts,
    document: &'a Document,
    out: Sheets,
    /// Base line of what comes next.
    y: f32,
    /// Where the foot begins.
    bottom: f32,
}

/// Lays a document out.
pub fn lay_out(document: &Document, fonts: &Fonts) -> Sheets {
    let feet =
        document.footer.iter().map(|line| wrapped(fonts, line, SMALL, RIGHT - LEFT).len()).sum::<usize>();
    let bottom = HEIGHT - 52.0 - 11.0 * count(feet);
    let mut pen = Pen { fonts, document, out: Sheets::default(), y: TOP, bottom };
    pen.out.sheets.push(Vec::new());
    pen.head();
    pen.parties();
    pen.columns();
    for item in &document.items {
        pen.item(item);
    }
    pen.sums();
    pen.notes();
    pen.feet();
    pen.out
}

/// Some dozens at most.
fn count(lines: usize) -> f32 {
    f32::from(u16::try_from(lines).unwrap_or(u16::MAX))
}

impl Pen<'_> {
    fn mark(&mut self, mark: Mark) {
        if let Some(sheet) = self.out.sheets.last_mut() {
            sheet.push(mark);
        }
    }

    fn text(&mut self, x: f32, y: f32, text: &str, style: Style) {
        self.line(x, y, &Line { text: text.to_owned(), base: Base::of(text) }, style);
    }

    fn line(&mut self, x: f32, y: f32, line: &Line, style: Style) {
        let (runs, lacking) = self.fonts.runs(&line.text, line.base, style.weight);
        self.out.unprintable |= lacking;
        self.mark(Mark::Text { x, y, size: style.size, ink: style.ink, runs });
    }

    /// Text that ends at `x`.
    fn text_to(&mut self, x: f32, y: f32, text: &str, style: Style) {
        let width = self.fonts.width(text, style.weight, style.size);
        self.text(x - width, y, text, style);
    }

    fn rule(&mut self, x: f32, y: f32, until: f32, ink: Ink) {
        self.mark(Mark::Bar { x, y, width: until - x, height: 0.7, ink });
    }

    fn wrap(&self, text: &str, style: Style, width: f32) -> Vec<Line> {
        let base = Base::of(text);
        wrapped(self.fonts, text, style, width).into_iter().map(|text| Line { text, base }).collect()
    }

    /// Lines below each other; the base line below the last one.
    fn block(&mut self, x: f32, mut y: f32, lines: &[String], style: Style, width: f32) -> f32 {
        for line in lines {
            for part in self.wrap(line, style, width) {
                self.line(x, y, &part, style);
                y += LEAD;
            }
        }
        y
    }

    /// Who sells, and what this is.
    fn head(&mut self) {
        let document = self.document;
        let title = Style { size: 20.0, weight: Weight::Bold, ink: Ink::Dark };
        self.text_to(RIGHT, TOP, document.title, title);
        if let Some(stamp) = document.stamp {
            let style = Style { size: 11.0, weight: Weight::Bold, ink: Ink::Signal };
            self.text_to(RIGHT, TOP + 18.0, stamp, style);
        }
        let mut y = TOP;
        let name = Style { size: 14.0, weight: Weight::Bold, ink: Ink::Dark };
        for part in self.wrap(&document.seller.0, name, DESCRIPTION - LEFT) {
            self.line(LEFT, y, &part, name);
            y += 18.0;
        }
        y = self.block(LEFT, y, &document.seller.1, QUIET, DESCRIPTION - LEFT);
        self.y = y.max(TOP + 36.0) + 12.0;
        self.rule(LEFT, self.y - LEAD, RIGHT, Ink::Pale);
        self.y += 8.0;
    }

    /// The buyer on the left, number and dates on the right.
    fn parties(&mut self) {
        let document = self.document;
        let begin = self.y;
        self.text(LEFT, begin, "Billed to", SMALL);
        let mut left = begin + 15.0;
        left = self.block(LEFT, left, std::slice::from_ref(&document.buyer.0), STRONG, DESCRIPTION - LEFT);
        left = self.block(LEFT, left, &document.buyer.1, PLAIN, DESCRIPTION - LEFT);
        let mut right = begin;
        for (label, value) in &document.facts {
            self.text(LABEL, right, label, QUIET);
            self.text_to(RIGHT, right, value, PLAIN);
            right += LEAD + 1.5;
        }
        self.y = left.max(right) + 22.0;
    }

    /// The head of the table, on each sheet that has a part of it.
    fn columns(&mut self) {
        let y = self.y;
        let head = Style { size: 8.5, weight: Weight::Bold, ink: Ink::Grey };
        self.text(LEFT, y, "Description", head);
        self.text_to(QUANTITY, y, "Quantity", head);
        self.text_to(UNIT, y, "Unit price", head);
        let amount = format!("Amount ({})", self.document.currency);
        self.text_to(RIGHT, y, &amount, head);
        self.rule(LEFT, y + 6.0, RIGHT, Ink::Grey);
        self.y = y + 21.0;
    }

    /// A further sheet, which says of what it is.
    fn turn(&mut self) {
        self.out.sheets.push(Vec::new());
        let said = format!("{} {}, continued", self.document.title, self.document.number);
        self.text(LEFT, TOP, &said, QUIET);
        self.y = TOP + 30.0;
    }

    /// A line of the table. It is not cut while a sheet can hold it; one that no sheet can hold goes on on
    /// the next.
    fn item(&mut self, item: &Item) {
        let text = self.wrap(&item.description, PLAIN, DESCRIPTION - LEFT);
        let height = LEAD * count(text.len() + usize::from(item.period.is_some()));
        if self.y + height - LEAD > self.bottom {
            self.turn();
            self.columns();
        }
        let y = self.y;
        self.text_to(QUANTITY, y, &item.quantity, PLAIN);
        self.text_to(UNIT, y, &item.unit, PLAIN);
        self.text_to(RIGHT, y, &item.amount, PLAIN);
        for line in text {
            self.fit(&line, PLAIN);
        }
        if let Some(period) = &item.period {
            self.fit(&Line { text: period.clone(), base: Base::LeftToRight }, SMALL);
        }
        self.rule(LEFT, self.y - LEAD + 6.0, RIGHT, Ink::Pale);
        self.y += 7.0;
    }

    /// One line at the left edge, on the next sheet when there is no room.
    fn fit(&mut self, text: &Line, style: Style) {
        if self.y > self.bottom {
            self.turn();
            self.columns();
        }
        self.line(LEFT, self.y, text, style);
        self.y += LEAD;
    }

    /// Label and amount, as high as the label needs.
    fn sum(&mut self, row: &Row, label: Style, amount: Style) {
        let width = UNIT - 10.0 - LABEL + 40.0;
        let lines = self.wrap(&row.label, label, width);
        if self.y + LEAD * count(lines.len()) - LEAD > self.bottom {
            self.turn();
        }
        self.text_to(RIGHT, self.y, &row.amount, amount);
        for line in lines {
            self.line(LABEL, self.y, &line, label);
            self.y += LEAD;
        }
        self.y += 2.0;
    }

    /// Totals, and what was paid. The totals stay together.
    fn sums(&mut self) {
        let document = self.document;
        let total = Style { size: 11.0, ..STRONG };
        if self.y + (LEAD + 2.0) * count(document.sums.len() + 1) > self.bottom {
            self.turn();
        }
        self.y += 8.0;
        for row in &document.sums {
            self.sum(row, QUIET, PLAIN);
        }
        self.rule(LABEL, self.y - LEAD + 3.0, RIGHT, Ink::Grey);
        self.y += 5.0;
        self.sum(&document.total, total, total);
        if !document.settlements.is_empty() {
            self.y += 3.0;
            for row in &document.settlements {
                self.sum(row, QUIET, PLAIN);
            }
        }
        self.rule(LABEL, self.y - LEAD + 3.0, RIGHT, Ink::Grey);
        self.y += 5.0;
        self.sum(&document.balance, total, total);
    }

    fn notes(&mut self) {
        let document = self.document;
        if document.notes.is_empty() {
            return;
        }
        self.y += 16.0;
        for note in &document.notes {
            for part in self.wrap(note, PLAIN, RIGHT - LEFT) {
                if self.y > self.bottom {
                    self.turn();
                }
                self.line(LEFT, self.y, &part, PLAIN);
                self.y += LEAD;
            }
            self.y += 4.0;
        }
    }

    /// On every sheet: the seller's foot, the number, which sheet of how many.
    fn feet(&mut self) {
        let document = self.document;
        let all = self.out.sheets.len();
        let mut sheets = std::mem::take(&mut self.out.sheets);
        for (index, sheet) in sheets.drain(..).enumerate() {
            self.out.sheets.push(sheet);
            let mut y = self.bottom + 24.0;
            self.rule(LEFT, y - 12.0, RIGHT, Ink::Pale);
            let said = format!("{} · page {} of {all}", document.number, index + 1);
            self.text_to(RIGHT, HEIGHT - 28.0, &said, SMALL);
            for line in &document.footer {
                for part in self.wrap(line, SMALL, RIGHT - LEFT) {
                    self.line(LEFT, y, &part, SMALL);
                    y += 11.0;
                }
            }
        }
    }
}

/// A text in lines that fit into `width`: broken between words, and inside of a word that is wider than a
/// line.
fn wrapped(fonts: &Fonts, text: &str, style: Style, width: f32) -> Vec<String> {
    let fits = |line: &str| fonts.width(line, style.weight, style.size) <= width;
    let mut lines = Vec::new();
    let mut line = String::new();
    // A space that must not be broken is part of its word.
    for word in text.split(|c: char| c.is_whitespace() && c != '\u{A0}').filter(|word| !word.is_empty()) {
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if fits(&longer) {
            line = longer;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for letter in letters(word) {
            if !line.is_empty() && !fits(&format!("{line}{letter}")) {
                lines.push(std::mem::take(&mut line));
            }
            line.push_str(letter);
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// The letters of a word, each with the marks that stand on it.
fn letters(word: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = word
        .char_indices()
        .filter(|(at, letter)| *at == 0 || !Fonts::is_mark(*letter))
        .map(|(at, _)| at)
        .collect();
    starts.push(word.len());
    starts.windows(2).filter_map(|pair| word.get(*pair.first()?..*pair.last()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BIL-19: no line is wider than its column, and nothing of a text is lost.
    #[test]
    fn long_texts_wrap_between_words_and_inside_of_endless_ones() {
        let fonts = Fonts::try_new(None).unwrap();
        let endless = "x".repeat(300);
        let text = format!("standard-monthly (monthly) for the shop {endless} of Zoë Müller");
        let lines = wrapped(&fonts, &text, PLAIN, 200.0);
        assert!(lines.len() > 5);
        for line in &lines {
            assert!(fonts.width(line, Weight::Book, TEXT) <= 200.0, "{line}");
        }
        let kept: String = lines.concat().split_whitespace().collect();
        assert_eq!(kept, text.split_whitespace().collect::<String>());
        assert_eq!(wrapped(&fonts, "", PLAIN, 200.0), [""]);
        let marks = "กำลั้ง".repeat(40);
        let lines = wrapped(&fonts, &marks, PLAIN, 200.0);
        assert!(lines.len() > 1 && lines.iter().all(|line| !line.starts_with(Fonts::is_mark)));
        assert_eq!(lines.concat(), marks);
    }
}
