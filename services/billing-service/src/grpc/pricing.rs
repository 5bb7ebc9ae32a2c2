//! `PricingAdminService`: coupons and rates of tax.

use contracts::billing::v1 as proto;
use contracts::billing::v1::pricing_admin_service_server::PricingAdminService;
use contracts::scalars::{datetime, timestamp};
use runtime::page::Page;
use time::Date;
use time::macros::format_description;
use tonic::{Request, Response, Status};

use super::Api;
use super::admin::by;
use super::convert::{self, amount};
use crate::app::invoices::{coupons, taxes};
use crate::domain::coupon::{Coupon, Discount, Limits, normal};
use crate::domain::coupon::{CouponUse, ListedCoupon};
use crate::domain::tax::TaxRate;
use crate::domain::tax::{TaxRateFilter, TaxRule};
use crate::error::Error;

fn listed(listed: ListedCoupon) -> proto::Coupon {
    let coupon = listed.coupon;
    let (percent_bp, amount) = match coupon.discount {
        Discount::Percent(bp) => (bp.into(), None),
        Discount::Amount(amount) => (0, Some(convert::money(amount))),
    };
    proto::Coupon {
        code: coupon.code,
        percent_bp,
        amount,
        invoices: coupon.invoices.unwrap_or(0),
        max_uses: coupon.max_uses.unwrap_or(0),
        uses: coupon.uses,
        active: coupon.active,
        starts_at: coupon.starts_at.map(timestamp),
        expires_at: coupon.expires_at.map(timestamp),
        once_per_customer: coupon.once_per_customer,
        created_at: Some(timestamp(listed.created_at)),
    }
}

/// What the caller wants; rows hold counts as SQL's integers.
fn wanted(coupon: proto::Coupon) -> Result<Coupon, Error> {
    let discount = match (coupon.percent_bp, coupon.amount) {
        (0, Some(off)) => Discount::Amount(amount(Some(off))?),
        (bp, None) => Discount::Percent(u16::try_from(bp).unwrap_or(u16::MAX)),
        (_, Some(_)) => {
            return Err(Error::Field {
                field: "percent_bp",
                message: "must be given, or else amount, and not both",
            });
        }
    };
    let starts_at = coupon.starts_at.as_ref().and_then(datetime);
    Ok(Coupon {
        code: normal(&coupon.code),
        discount,
        invoices: count("invoices", coupon.invoices)?,
        max_uses: count("max_uses", coupon.max_uses)?,
        uses: 0,
        active: true,
        starts_at,
        expires_at: coupon.expires_at.as_ref().and_then(datetime),
        once_per_customer: coupon.once_per_customer,
    })
}

/// 0 is without limit.
fn count(field: &'static str, number: u32) -> Result<Option<u32>, Error> {
    if i32::try_from(number).is_err() {
        return Err(Error::Field { field, message: "is too large" });
    }
    Ok(Some(number).filter(|number| *number > 0))
}

fn used(used: &CouponUse) -> proto::CouponUse {
    proto::CouponUse {
        subscription_id: used.subscription_id.to_string(),
        customer_id: used.customer_id.to_string(),
        invoices: u32::try_from(used.invoices).unwrap_or(0),
        redeemed_at: Some(timestamp(used.redeemed_at)),
    }
}

fn day(field: &'static str, text: &str) -> Result<Date, Error> {
    Date::parse(text, format_description!("[year]-[month]-[day]"))
        .map_err(|_| Error::Field { field, message: "must be a day such as 2027-01-31" })
}

fn rate(rate: TaxRate) -> proto::TaxRate {
    proto::TaxRate {
        country: rate.country,
        name: rate.rule.name,
        rate_bp: rate.rule.rate_bp.into(),
        reverse_charge: rate.rule.reverse_charge,
        valid_from: rate.valid_from.to_string(),
        valid_until: rate.valid_until.map(|day| day.to_string()).unwrap_or_default(),
    }
}

fn one(found: ListedCoupon) -> Response<proto::GetCouponResponse> {
    Response::new(proto::GetCouponResponse { coupon: Some(listed(found)) })
}

#[tonic::async_trait]
impl PricingAdminService for Api {
    async fn list_coupons(
        &self,
        request: Request<proto::ListCouponsRequest>,
    ) -> Result<Response<proto::ListCouponsResponse>, Status> {
        let asked = request.into_inner();
        let page = Page::try_new(asked.page, asked.page_size)?;
        let (rows, total) = coupons::list(&self.app, asked.active, page).await?;
        Ok(Response::new(proto::ListCouponsResponse {
            coupons: rows.into_iter().map(listed).collect(),
            total: u64::try_from(total).unwrap_or(0),
        }))
    }

    async fn get_coupon(
        &self,
        request: Request<proto::CouponRequest>,
    ) -> Result<Response<proto::GetCouponResponse>, Status> {
        Ok(one(coupons::find(&self.app, &request.get_ref().code).await?))
    }

    async fn create_coupon(
        &self,
        request: Request<proto::CreateCouponRequest>,
    ) -> Result<Response<proto::GetCouponResponse>, Status> {
        let by = by(&request, &request.get_ref().reason)?;
        let coupon = wanted(request.into_inner().coupon.unwrap_or_default())?;
        Ok(one(coupons::create(&self.app, &by, coupon).await?))
    }

    async fn change_coupon(
        &self,
        request: Request<proto::ChangeCouponRequest>,
    ) -> Result<Response<proto::GetCouponResponse>, Status> {
        let by = by(&request, &request.get_ref().reason)?;
        let wish = request.into_inner();
        let end = wish.expires_at.as_ref().and_then(datetime);
        if wish.never_expires && end.is_some() {
            let message = "cannot be given with an end";
            return Err(Error::Field { field: "never_expires", message }.into());
        }
        let limits = Limits {
            active: wish.active,
            max_uses: wish.max_uses.map(|most| count("max_uses", most)).transpose()?,
            expires_at: (wish.never_expires || end.is_some()).then_some(end),
        };
        let now = self.app.now().await;
        Ok(one(coupons::change(&self.app, &by, &wish.code, &limits, now).await?))
    }

    async fn list_coupon_uses(
        &self,
        request: Request<proto::ListCouponUsesRequest>,
    ) -> Result<Response<proto::ListCouponUsesResponse>, Status> {
        let asked = request.into_inner();
        let page = Page::try_new(asked.page, asked.page_size)?;
        let (rows, total) = coupons::uses(&self.app, &asked.code, page).await?;
        Ok(Response::new(proto::ListCouponUsesResponse {
            uses: rows.iter().map(used).collect(),
            total: u64::try_from(total).unwrap_or(0),
        }))
    }

    async fn list_tax_rates(
        &self,
        request: Request<proto::ListTaxRatesRequest>,
    ) -> Result<Response<proto::ListTaxRatesResponse>, Status> {
        let asked = request.into_inner();
        let page = Page::try_new(asked.page, asked.page_size)?;
        let filter = TaxRateFilter {
            country: asked.country.map(|country| country.to_uppercase()),
            on: asked.on.map(|text| day("on", &text)).transpose()?,
        };
        let (rows, total) = taxes::list(&self.app, &filter, page).await?;
        Ok(Response::new(proto::ListTaxRatesResponse {
            rates: rows.into_iter().map(rate).collect(),
            total: u64::try_from(total).unwrap_or(0),
        }))
    }

    async fn put_tax_rate(
        &self,
        request: Request<proto::PutTaxRateRequest>,
    ) -> Result<Response<proto::GetTaxRateResponse>, Status> {
        let by = by(&request, &request.get_ref().reason)?;
        let wish = request.into_inner().rate.unwrap_or_default();
        let rule = TaxRule {
            name: wish.name.trim().to_owned(),
            rate_bp: u16::try_from(wish.rate_bp).unwrap_or(u16::MAX),
            reverse_charge: wish.reverse_charge,
        };
        let (country, from) = (wish.country.to_uppercase(), day("valid_from", &wish.valid_from)?);
        let put = taxes::put(&self.app, &by, &country, from, &rule, self.app.now().await).await?;
        Ok(Response::new(proto::GetTaxRateResponse { rate: Some(rate(put)) }))
    }

    async fn end_tax_rate(
        &self,
        request: Request<proto::EndTaxRateRequest>,
    ) -> Result<Response<proto::GetTaxRateResponse>, Status> {
        let by = by(&request, &request.get_ref().reason)?;
        let wish = request.into_inner();
        let (country, until) = (wish.country.to_uppercase(), day("valid_until", &wish.valid_until)?);
        let ended = taxes::end(&self.app, &by, &country, until, self.app.now().await).await?;
        Ok(Response::new(proto::GetTaxRateResponse { rate: Some(rate(ended)) }))
    }

    async fn withdraw_tax_rate(
        &self,
        request: Request<proto::WithdrawTaxRateRequest>,
    ) -> Result<Response<proto::WithdrawTaxRateResponse>, Status> {
        let by = by(&request, &request.get_ref().reason)?;
        let wish = request.into_inner();
        let (country, from) = (wish.country.to_uppercase(), day("valid_from", &wish.valid_from)?);
        let left = taxes::withdraw(&self.app, &by, &country, from, self.app.now().await).await?;
        Ok(Response::new(proto::WithdrawTaxRateResponse { rate: left.map(rate) }))
    }
}
