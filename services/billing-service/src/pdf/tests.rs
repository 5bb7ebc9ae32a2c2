//! Documents read back: what a reader of the PDF finds in it.

use super::*;
use crate::domain::document::{Item, Row};
use lopdf::Document as Parsed;
use time::macros::datetime;

fn row(label: &str, amount: &str) -> Row {
    Row { label: label.into(), amount: amount.into() }
}

fn item(description: &str) -> Item {
    Item {
        description: description.into(),
        period: Some("1 Mar 2028 – 1 Apr 2028".into()),
        quantity: "1".into(),
        unit: "9.00".into(),
        amount: "9.00".into(),
    }
}

fn sample(buyer: &str, items: Vec<Item>) -> Document {
    Document {
        title: "Invoice",
        number: "INV-000042".into(),
        stamp: Some("PAID"),
        seller: ("SaaSOdoo Hosting Ltd".into(), vec!["12 Samora Machel Avenue".into(), "Harare".into()]),
        buyer: (buyer.into(), vec!["Hauptstraße 5".into(), "10115 Berlin".into()]),
        facts: vec![("Number", "INV-000042".into()), ("Date", "1 March 2028".into())],
        currency: "USD".into(),
        items,
        sums: vec![row("Subtotal", "9.00"), row("VAT 15 %", "1.35")],
        total: row("Total", "USD 10.35"),
        settlements: vec![row("Payment by bank, REF-77 (2 Mar 2028)", "\u{2212}10.35")],
        balance: row("Balance due", "USD 0.00"),
        notes: vec!["Reverse charge: the buyer owes the tax.".into()],
        footer: vec!["Bank: First Bank, account 0123456789".into()],
        issued_at: Some(datetime!(2028-03-01 12:00 UTC)),
    }
}

fn printed(document: &Document) -> Vec<u8> {
    render(document, &Fonts::try_new(None).unwrap()).unwrap()
}

/// All text, page by page, without its line breaks.
pub(super) fn pages(pdf: &[u8]) -> Vec<String> {
    let parsed = Parsed::load_mem(pdf).unwrap();
    let text = |number: u32| parsed.extract_text(&[number]).unwrap().replace('\n', " ");
    parsed.get_pages().into_keys().map(text).collect()
}

/// BIL-19
#[test]
fn a_reader_finds_number_dates_names_and_sums() {
    let pdf = printed(&sample("Zoë Müller & Søn", vec![item("basic-monthly (monthly)")]));
    assert!(pdf.starts_with(b"%PDF-"));
    let [page] = pages(&pdf).try_into().unwrap();
    for said in [
        "INV-000042",
        "1 March 2028",
        "Zoë Müller & Søn",
        "Hauptstraße 5",
        "basic-monthly",
        "1 Mar 2028 – 1 Apr 2028",
        "VAT 15 %",
        "USD 10.35",
        "REF-77",
        "USD 0.00",
        "PAID",
        "Reverse charge",
        "page 1 of 1",
        "First Bank",
    ] {
        assert!(page.contains(said), "{said} is not in {page}");
    }
}

/// BIL-19: asked for twice, the same bytes come; so a document can be compared with the one that was sent.
#[test]
fn the_same_document_gives_the_same_bytes() {
    let document = sample("Zoë", (0..40).map(|n| item(&format!("line {n}"))).collect());
    assert_eq!(printed(&document), printed(&document));
    let mut other = document.clone();
    other.number = "INV-000043".into();
    assert_ne!(printed(&document), printed(&other));
}

/// BIL-19: many lines go on on further pages, each with the head of the table, and each line is there once.
#[test]
fn many_lines_go_on_on_further_pages() {
    let items = (0..90).map(|n| item(&format!("position {n:03} of a long list"))).collect();
    let pages = pages(&printed(&sample("Ada", items)));
    assert!((4..8).contains(&pages.len()), "{} pages", pages.len());
    for n in 0..90 {
        let said = format!("position {n:03} of");
        assert_eq!(pages.iter().filter(|page| page.contains(&said)).count(), 1, "{said}");
    }
    for (index, page) in pages.iter().enumerate() {
        assert!(page.contains(&format!("page {} of {}", index + 1, pages.len())), "{page}");
        assert!(page.contains("INV-000042"));
    }
    assert!(pages.iter().all(|page| !page.contains("position") || page.contains("Unit price")));
    assert!(pages.last().unwrap().contains("USD 10.35"));
}

/// BIL-19: one line that no page can hold is cut, not lost.
#[test]
fn a_line_longer_than_a_page_goes_on() {
    let text = (0..1500).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
    let pages = pages(&printed(&sample("Ada", vec![item(&text)])));
    let all = pages.join(" ");
    assert!(pages.len() > 1 && all.contains("w0 ") && all.contains("w1499"));
}

/// BIL-19: what the fonts cannot print is a question mark that says so, never an empty box without a word.
/// Letters with marks of their own are no such thing.
#[test]
fn characters_without_a_glyph_are_said_to_be_missing() {
    let [page] = pages(&printed(&sample("\u{13080}\u{13081} 🦀", vec![item("x")]))).try_into().unwrap();
    assert!(page.contains("?? ?") && page.contains("Characters that the fonts"), "{page}");
    for name in
        ["Zoe\u{308} Mu\u{308}ller", "Ζωή Παπαδοπούλου", "Юлия Щербакова", "Łukasz Ţepeş", "Nguyễn Thị Ánh"]
    {
        let [page] = pages(&printed(&sample(name, vec![item("x")]))).try_into().unwrap();
        assert!(!page.contains("Characters that the fonts"), "{name}: {page}");
    }
}

/// A name cannot turn the text around it, and its line breaks are spaces.
#[test]
fn controls_in_names_are_not_printed() {
    let [page] = pages(&printed(&sample("Ada\u{202E}\u{0}\nLovelace", vec![item("x")]))).try_into().unwrap();
    assert!(page.contains("Ada Lovelace") && !page.contains("Characters that the fonts"), "{page}");
}

/// The font of the setting prints what the built-in ones lack.
#[test]
fn a_font_that_is_none_is_refused() {
    assert!(matches!(Fonts::try_new(Some(("f", b"no font".to_vec()))), Err(PdfError::Font(_))));
}

/// Names in scripts of the whole world, with the digits and the brackets that they stand beside.
const NAMES: [(&str, &str); 18] = [
    ("Arabic", "شركة النور للتجارة (مصر) 11564"),
    ("Urdu", "اُردو بازار، لاہور کے 54000"),
    ("Persian", "خانه‌های تهران ۱۲۳"),
    ("Hebrew", "חברת אור בע\"מ, רחוב 12"),
    ("Bengali", "শ্রী কৃষ্ণ ট্রেডার্স ১২"),
    ("Devanagari", "श्री लक्ष्मी क्षत्रिय प्राइवेट लि॰"),
    ("Tamil", "கோவை தொழில் நிறுவனம்"),
    ("Telugu", "శ్రీ వెంకటేశ్వర స్టోర్స్"),
    ("Sinhala", "ශ්‍රී ලංකා වෙළඳ"),
    ("Thai", "บริษัท น้ำใจไทย จำกัด"),
    ("Khmer", "ក្រុមហ៊ុន ខ្មែរ"),
    ("Burmese", "မြန်မာ ကုမ္ပဏီ"),
    ("Amharic", "አዲስ አበባ ንግድ"),
    ("Chinese", "北京時代科技有限公司（汉语）"),
    ("Japanese", "株式会社さくらシステム"),
    ("Korean", "한국 주식회사 뷁"),
    ("Georgian", "შპს მზე"),
    ("Vietnamese", "Nguyễn Thị Ánh"),
];

/// BIL-19: each of them is printed whole.
#[test]
fn names_of_the_whole_world_are_printed() {
    let fonts = Fonts::try_new(None).unwrap();
    for (script, name) in NAMES {
        for weight in [fonts::Weight::Book, fonts::Weight::Bold] {
            let (runs, lacking) = fonts.runs(name, fonts::Base::of(name), weight);
            assert!(!lacking && runs.iter().all(|run| run.width > 0.0), "{script}: {runs:?}");
        }
    }
    let items = NAMES.iter().map(|(script, name)| item(&format!("{script}: shop {name} 12"))).collect();
    let mut document = sample(NAMES[0].1, items);
    document.buyer.1 = NAMES.iter().map(|(_, name)| (*name).to_owned()).collect();
    let pdf = printed(&document);
    assert!(!pages(&pdf).concat().contains("Characters that the fonts"));
    // Only the glyphs that are used are part of it.
    assert!(pdf.len() < 300_000, "{} bytes", pdf.len());
    if let Some(path) = option_env!("INVOICE_SAMPLE") {
        std::fs::write(path, pdf).unwrap();
    }
}

/// BIL-19: digits keep their order beside letters that are written from right to left, where they stand to the
/// left of what comes before them.
#[test]
fn digits_in_arabic_and_hebrew_lines_keep_their_order() {
    let fonts = Fonts::try_new(None).unwrap();
    for line in ["شارع 11564", "רחוב 12"] {
        let (runs, _) = fonts.runs(line, fonts::Base::of(line), fonts::Weight::Book);
        let (word, digits) = line.split_once(' ').unwrap();
        let shown: Vec<_> = runs.iter().map(|run| (run.text.trim(), run.right_to_left)).collect();
        assert_eq!(shown, [(digits, false), (word, true)]);
        let [page] = pages(&printed(&sample(line, vec![item("x")]))).try_into().unwrap();
        assert!(page.contains(digits), "{page}");
    }
}
