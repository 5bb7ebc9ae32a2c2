//! Coupons and rates of tax.

use ::time::{Date, OffsetDateTime};
use contracts::billing::v1 as pb;
use contracts::scalars::timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dto::money::Amount;
use crate::dto::scalars::{Money, Time, text, time};

#[derive(Debug, Serialize, ToSchema)]
pub struct Coupon {
    #[schema(example = "SPRING")]
    pub code: String,
    /// Hundredths of a percent
    #[schema(example = 2500)]
    pub percent_bp: Option<u32>,
    /// Instead of a percentage
    pub amount: Option<Money>,
    /// Off how many invoices of a subscription; absent: off all
    pub invoices: Option<u32>,
    /// Absent: without limit
    pub max_uses: Option<u32>,
    pub uses: u32,
    pub active: bool,
    pub starts_at: Option<Time>,
    pub expires_at: Option<Time>,
    pub once_per_customer: bool,
    pub created_at: Option<Time>,
}

impl From<pb::Coupon> for Coupon {
    fn from(coupon: pb::Coupon) -> Self {
        let some = |number: u32| Some(number).filter(|number| *number > 0);
        Self {
            percent_bp: some(coupon.percent_bp),
            amount: coupon.amount.map(Money::from),
            invoices: some(coupon.invoices),
            max_uses: some(coupon.max_uses),
            starts_at: time(coupon.starts_at.as_ref()),
            expires_at: time(coupon.expires_at.as_ref()),
            created_at: time(coupon.created_at.as_ref()),
            code: coupon.code,
            uses: coupon.uses,
            active: coupon.active,
            once_per_customer: coupon.once_per_customer,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CouponList {
    pub success: bool,
    pub coupons: Vec<Coupon>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OneCoupon {
    pub success: bool,
    pub coupon: Coupon,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCoupon {
    /// A to Z, 0 to 9, `_` and `-`
    #[schema(min_length = 3, max_length = 40, example = "SPRING")]
    pub code: String,
    /// Hundredths of a percent
    #[schema(minimum = 1, maximum = 10000, example = 2500)]
    pub percent_bp: Option<u32>,
    /// Instead of a percentage
    pub amount: Option<Amount>,
    /// Off how many invoices of a subscription; absent: off all
    #[schema(minimum = 1)]
    pub invoices: Option<u32>,
    /// Absent: without limit
    #[schema(minimum = 1)]
    pub max_uses: Option<u32>,
    /// RFC 3339
    #[serde(default, with = "::time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    pub starts_at: Option<OffsetDateTime>,
    /// RFC 3339
    #[serde(default, with = "::time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<OffsetDateTime>,
    /// True when absent
    pub once_per_customer: Option<bool>,
    #[schema(min_length = 5, max_length = 500)]
    pub reason: String,
}

impl From<NewCoupon> for pb::CreateCouponRequest {
    fn from(new: NewCoupon) -> Self {
        Self {
            coupon: Some(pb::Coupon {
                code: new.code,
                percent_bp: new.percent_bp.unwrap_or(0),
                amount: new.amount.map(pb::Money::from),
                invoices: new.invoices.unwrap_or(0),
                max_uses: new.max_uses.unwrap_or(0),
                starts_at: new.starts_at.map(timestamp),
                expires_at: new.expires_at.map(timestamp),
                once_per_customer: new.once_per_customer.unwrap_or(true),
                ..pb::Coupon::default()
            }),
            reason: new.reason,
        }
    }
}

/// What is absent stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeCoupon {
    /// Whether it can be used from now on; subscriptions that have it keep it
    pub active: Option<bool>,
    /// 0: without limit
    pub max_uses: Option<u32>,
    /// RFC 3339
    #[serde(default, with = "::time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<OffsetDateTime>,
    /// Takes its end away
    #[serde(default)]
    pub never_expires: bool,
    #[schema(min_length = 5, max_length = 500)]
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CouponUse {
    #[schema(format = Uuid)]
    pub subscription_id: String,
    #[schema(format = Uuid)]
    pub customer_id: String,
    /// On how many invoices it was so far
    pub invoices: u32,
    pub redeemed_at: Option<Time>,
}

impl From<pb::CouponUse> for CouponUse {
    fn from(used: pb::CouponUse) -> Self {
        Self {
            redeemed_at: time(used.redeemed_at.as_ref()),
            subscription_id: used.subscription_id,
            customer_id: used.customer_id,
            invoices: used.invoices,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CouponUseList {
    pub success: bool,
    pub uses: Vec<CouponUse>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TaxRate {
    #[schema(example = "DE")]
    pub country: String,
    #[schema(example = "VAT")]
    pub name: String,
    /// Hundredths of a percent
    #[schema(example = 1900)]
    pub rate_bp: u32,
    /// A buyer with a tax id owes the tax itself
    pub reverse_charge: bool,
    /// First day, UTC
    #[schema(example = "2027-01-01")]
    pub valid_from: String,
    /// First day without it; absent: open
    #[schema(example = "2028-01-01")]
    pub valid_until: Option<String>,
}

impl From<pb::TaxRate> for TaxRate {
    fn from(rate: pb::TaxRate) -> Self {
        Self {
            valid_until: text(rate.valid_until),
            country: rate.country,
            name: rate.name,
            rate_bp: rate.rate_bp,
            reverse_charge: rate.reverse_charge,
            valid_from: rate.valid_from,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TaxRateList {
    pub success: bool,
    pub tax_rates: Vec<TaxRate>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OneTaxRate {
    pub success: bool,
    pub tax_rate: TaxRate,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutTaxRate {
    #[schema(min_length = 1, max_length = 40, example = "VAT")]
    pub name: String,
    /// Hundredths of a percent
    #[schema(maximum = 10000, example = 1900)]
    pub rate_bp: u32,
    /// A buyer with a tax id owes the tax itself
    #[serde(default)]
    pub reverse_charge: bool,
    /// First day, UTC; not past
    #[schema(value_type = String, format = Date, example = "2027-01-01")]
    pub valid_from: Day,
    #[schema(min_length = 5, max_length = 500)]
    pub reason: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndTaxRate {
    /// First day without it, UTC; not past
    #[schema(value_type = String, format = Date, example = "2028-01-01")]
    pub valid_until: Day,
    #[schema(min_length = 5, max_length = 500)]
    pub reason: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WithdrawTaxRate {
    /// Day on which the rate, or its end, was planned to begin; not come yet
    #[schema(value_type = String, format = Date, example = "2028-01-01")]
    pub valid_from: Day,
    #[schema(min_length = 5, max_length = 500)]
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WithdrawnTaxRate {
    pub success: bool,
    /// In force on that day now; absent: no tax
    pub tax_rate: Option<TaxRate>,
}

/// A day as ISO 8601 writes it.
#[derive(Debug, Clone, Copy)]
pub struct Day(pub Date);

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let format = ::time::macros::format_description!("[year]-[month]-[day]");
        let text = String::deserialize(deserializer)?;
        let day = Date::parse(&text, format)
            .map_err(|_| serde::de::Error::custom("must be a day such as 2027-01-31"))?;
        Ok(Self(day))
    }
}
