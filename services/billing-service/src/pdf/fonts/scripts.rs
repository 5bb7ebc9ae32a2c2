//! Fonts of single scripts, for names that DejaVu cannot print. Only the glyphs that a document uses become
//! part of it. Their licences lie beside them.

/// A font in the program.
macro_rules! font {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../../fonts/scripts/", $name, ".ttf")) as &[u8])
    };
}

/// Those for which a small font is enough, then the large one for Chinese, Japanese and Korean.
pub const ALL: [(&str, &[u8]); 16] = [
    font!("NotoSansArabic-Regular"),
    font!("NotoSansBengali-Regular"),
    font!("NotoSansDevanagari-Regular"),
    font!("NotoSansEthiopic-Regular"),
    font!("NotoSansGujarati-Regular"),
    font!("NotoSansGurmukhi-Regular"),
    font!("NotoSansKannada-Regular"),
    font!("NotoSansKhmer-Regular"),
    font!("NotoSansMalayalam-Regular"),
    font!("NotoSansMyanmar-Regular"),
    font!("NotoSansOriya-Regular"),
    font!("NotoSansSinhala-Regular"),
    font!("NotoSansTamil-Regular"),
    font!("NotoSansTelugu-Regular"),
    font!("NotoSansThai-Regular"),
    font!("DroidSansFallback"),
];
