//! When another shared pool is ordered (DBS-24, DBS-25).

/// What is there, what is coming and who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Supply {
    /// Free slots of pools that serve.
    pub free: i64,
    /// Slots of pools in the making.
    pub coming: i64,
    /// Requests that wait for a slot.
    pub waiting: i64,
    /// Pools that serve, full ones included.
    pub serving: i64,
}

/// Must another pool be ordered now?
///
/// Either the need exceeds what is there and coming, or little room is left and nothing is coming. Nothing is
/// ordered before the first request.
pub fn must_order(supply: Supply, min_free: i64) -> bool {
    supply.waiting > supply.free + supply.coming
        || (supply.serving > 0 && supply.coming == 0 && supply.free < min_free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// DBS-24
    #[test]
    fn a_pool_in_the_making_is_enough_until_it_is_booked_out() {
        let supply = |waiting, coming| Supply { coming, waiting, ..Supply::default() };
        assert!(!must_order(supply(0, 0), 5), "nobody asked yet");
        assert!(must_order(supply(1, 0), 5));
        assert!(!must_order(supply(50, 50), 5));
        assert!(must_order(supply(51, 50), 5));
    }

    /// DBS-25
    #[test]
    fn growth_comes_before_need() {
        let supply = |free, coming| Supply { free, coming, waiting: 0, serving: 1 };
        assert!(!must_order(supply(5, 0), 5));
        assert!(must_order(supply(4, 0), 5), "46 of 50");
        assert!(!must_order(supply(4, 50), 5), "one is coming");
    }

    proptest! {
        /// DBS-24: ordering until nothing more is ordered covers the need with less than one pool to spare.
        #[test]
        fn orders_cover_the_need_without_surplus(waiting in 0i64..2000, size in 1i64..500) {
            let mut supply = Supply { waiting, ..Supply::default() };
            let mut pools = 0;
            while must_order(supply, 5) {
                supply.coming += size;
                pools += 1;
            }
            prop_assert_eq!(pools, (waiting + size - 1) / size);
        }
    }
}
