//! What a gateway says about a payment, and what follows from it (BIL-26, BIL-27). Reports come late, again
//! and in any order; money counts once.

use std::fmt;
use std::str::FromStr;

use super::invoice::words;
use super::money::Money;
use super::payment::PaymentState;

words! {
    /// Where a payment stands at its gateway.
    Standing, UnknownStanding, {
        /// Begun, nothing paid.
        Open = "open",
        /// The customer paid.
        Paid = "paid",
        /// It will not come.
        Failed = "failed",
        /// The customer stopped it.
        Cancelled = "cancelled",
        /// The customer disputes what was paid.
        Disputed = "disputed",
        /// The gateway gave the money back.
        Refunded = "refunded",
    }
}

/// What a gateway says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where it stands.
    pub standing: Standing,
    /// How much it is about; `None`: it cannot be read.
    pub amount: Option<Money>,
    /// The gateway's own name of the payment.
    pub gateway_reference: String,
    /// The gateway's own word for the standing.
    pub word: String,
    /// Where it can be asked from now on, when it says so.
    pub poll_url: String,
}

/// What we hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// State of the payment.
    pub state: PaymentState,
    /// It was booked once.
    pub settled: bool,
    /// How much it must be.
    pub amount: Money,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It says nothing new.
    Nothing,
    /// It is still on its way.
    Wait,
    /// The money is here: book it.
    Settle,
    /// It ended without money.
    End(PaymentState),
    /// Somebody must look; why.
    Dispute(&'static str),
    /// A dispute about booked money ended in our favour.
    Restore,
    /// Booked money was given back by the gateway.
    GiveBack,
}

/// Another amount than the one that was asked for.
pub const OTHER_AMOUNT: &str = "other_amount";

/// What a report means for a payment. The invoice is paid by [`Verdict::Settle`] alone, and that needs the
/// amount to the cent.
pub fn judge(known: Known, report: &Report) -> Verdict {
    use PaymentState::{Cancelled, Disputed, Failed, Paid, Pending};
    match (report.standing, known.settled, known.state) {
        (Standing::Paid, true, Disputed) => Verdict::Restore,
        (Standing::Paid, false, state) if report.amount != Some(known.amount) => {
            if state == Disputed {
                Verdict::Nothing
            } else {
                Verdict::Dispute(OTHER_AMOUNT)
            }
        }
        (Standing::Paid, false, _) => Verdict::Settle,
        (Standing::Open, false, Pending) => Verdict::Wait,
        (Standing::Failed, false, Pending) => Verdict::End(Failed),
        (Standing::Cancelled | Standing::Refunded, false, Pending) => Verdict::End(Cancelled),
        // A gateway that takes its yes back.
        (Standing::Failed | Standing::Cancelled, true, Paid) => Verdict::Dispute("taken_back"),
        (Standing::Disputed, _, Pending | Paid | Failed | Cancelled) => Verdict::Dispute("disputed"),
        (Standing::Refunded, true, Paid | Disputed) => Verdict::GiveBack,
        // What was said before, what was overtaken, and what was given back already.
        (
            Standing::Paid
            | Standing::Open
            | Standing::Failed
            | Standing::Cancelled
            | Standing::Disputed
            | Standing::Refunded,
            _,
            _,
        ) => Verdict::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;
    use proptest::prelude::*;

    fn report(standing: Standing, minor: i64) -> Report {
        Report {
            standing,
            amount: Some(Money::new(minor, Currency::USD)),
            gateway_reference: String::new(),
            word: standing.as_str().into(),
            poll_url: String::new(),
        }
    }

    fn pending() -> Known {
        Known { state: PaymentState::Pending, settled: false, amount: Money::new(900, Currency::USD) }
    }

    /// What the use case does with a verdict.
    fn take(known: Known, verdict: Verdict) -> Known {
        let state = match verdict {
            Verdict::Nothing | Verdict::Wait => known.state,
            Verdict::Settle | Verdict::Restore => PaymentState::Paid,
            Verdict::End(state) => state,
            Verdict::Dispute(_) => PaymentState::Disputed,
            Verdict::GiveBack => PaymentState::Refunded,
        };
        Known { state, settled: known.settled || verdict == Verdict::Settle, ..known }
    }

    /// BIL-27
    #[test]
    fn another_amount_or_currency_pays_nothing() {
        for other in [899, 901, 0] {
            assert_eq!(judge(pending(), &report(Standing::Paid, other)), Verdict::Dispute(OTHER_AMOUNT));
        }
        let euro = Money::new(900, "EUR".parse().unwrap());
        let paid = Report { amount: Some(euro), ..report(Standing::Paid, 900) };
        assert_eq!(judge(pending(), &paid), Verdict::Dispute(OTHER_AMOUNT));
        let blurred = Report { amount: None, ..paid };
        assert_eq!(judge(pending(), &blurred), Verdict::Dispute(OTHER_AMOUNT));
        assert_eq!(judge(pending(), &report(Standing::Paid, 900)), Verdict::Settle);
    }

    /// BIL-26: a success that comes after the end is a success; an end that comes after it is none.
    #[test]
    fn late_money_counts_and_late_words_do_not() {
        let ended = Known { state: PaymentState::Cancelled, ..pending() };
        assert_eq!(judge(ended, &report(Standing::Paid, 900)), Verdict::Settle);
        let paid = Known { state: PaymentState::Paid, settled: true, ..pending() };
        assert_eq!(judge(paid, &report(Standing::Open, 900)), Verdict::Nothing);
        assert_eq!(judge(paid, &report(Standing::Cancelled, 900)), Verdict::Dispute("taken_back"));
    }

    proptest! {
        /// BIL-26: whatever is said in whatever order, money is booked at most once, and never goes unless
        /// the gateway takes it.
        #[test]
        fn money_is_booked_at_most_once(
            said in proptest::collection::vec((0_usize..Standing::ALL.len(), prop_oneof![Just(900_i64), Just(1_i64)]), 0..30),
        ) {
            let (mut known, mut settled) = (pending(), 0);
            for (standing, minor) in said {
                let verdict = judge(known, &report(Standing::ALL[standing], minor));
                settled += usize::from(verdict == Verdict::Settle);
                let next = take(known, verdict);
                prop_assert!(next.state == known.state || known.state.may_become(next.state), "{known:?} {verdict:?}");
                if verdict == Verdict::GiveBack || verdict == Verdict::Restore {
                    prop_assert!(known.settled);
                }
                known = next;
                // Said twice is said once.
                let again = judge(known, &report(Standing::ALL[standing], minor));
                prop_assert!(matches!(again, Verdict::Nothing | Verdict::Wait), "{known:?} {again:?}");
            }
            prop_assert!(settled <= 1);
            prop_assert_eq!(known.settled, settled == 1);
        }
    }
}
