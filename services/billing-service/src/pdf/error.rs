//! Why there is no PDF.

/// Why there is no PDF.
#[derive(Debug, thiserror::Error)]
pub enum PdfError {
    /// A font file that cannot be read.
    #[error("the font {0} cannot be used")]
    Font(String),
    /// The library refused to write it.
    #[error("the PDF cannot be written: {0}")]
    Write(String),
}
