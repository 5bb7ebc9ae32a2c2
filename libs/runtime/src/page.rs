//! Paging, equal on all lists (GTW-14): `page` from 1, `page_size` from 1 to 100, 20 when absent.

use crate::grpc::Refusal;

/// A checked page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    number: u32,
    size: u32,
}

impl Page {
    /// Largest page.
    pub const MAX_SIZE: u32 = 100;

    /// Protobuf's 0 means absent.
    pub fn try_new(page: u32, page_size: u32) -> Result<Self, Refusal> {
        let number = if page == 0 { 1 } else { page };
        let size = if page_size == 0 { 20 } else { page_size };
        if size > Self::MAX_SIZE {
            return Err(Refusal::invalid("page_size", "must be from 1 to 100"));
        }
        Ok(Self { number, size })
    }

    /// For `LIMIT`.
    pub fn limit(self) -> i64 {
        i64::from(self.size)
    }

    /// For `OFFSET`.
    pub fn offset(self) -> i64 {
        i64::from(self.number - 1) * i64::from(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GTW-14
    #[test]
    fn absent_values_get_their_defaults_and_large_pages_are_refused() {
        let page = Page::try_new(0, 0).unwrap();
        assert_eq!((page.limit(), page.offset()), (20, 0));
        let page = Page::try_new(3, 50).unwrap();
        assert_eq!((page.limit(), page.offset()), (50, 100));
        assert!(Page::try_new(1, 101).is_err());
        assert_eq!(Page::try_new(u32::MAX, 100).unwrap().offset(), i64::from(u32::MAX - 1) * 100);
    }
}
