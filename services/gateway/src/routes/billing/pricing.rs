//! Coupons and rates of tax, for admins (BIL-36).

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use contracts::billing::v1 as pb;
use contracts::scalars::timestamp;
use http::StatusCode;

use crate::context::Ctx;
use crate::dto::checks::Checks;
use crate::dto::paging::{PageParams, listed};
use crate::dto::pricing::{
    ChangeCoupon, Coupon, CouponList, CouponUse, CouponUseList, EndTaxRate, NewCoupon, OneCoupon, OneTaxRate,
    PutTaxRate, TaxRate, TaxRateList, WithdrawTaxRate, WithdrawnTaxRate,
};
use crate::extract::{Body, Query};
use crate::problem::Problem;
use crate::routes::{answer, present};
use crate::state::App;

fn reasoned(reason: &str) -> Checks {
    Checks::default().text("reason", reason, 5..=500)
}

/// A code that cannot be one is no coupon.
fn code(code: String) -> Result<String, Problem> {
    if code.len() > 100 { Err(Problem::not_found("coupon")) } else { Ok(code) }
}

/// A country that cannot be one has no rate.
fn country(country: &str) -> Result<String, Problem> {
    let letters = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_alphabetic());
    if letters { Ok(country.to_uppercase()) } else { Err(Problem::not_found("country")) }
}

/// Coupons.
#[utoipa::path(get, path = "/billing/api/billing/admin/coupons",
    params(PageParams, ("active" = Option<bool>, Query, description = "those that can be used, or those that cannot")),
    responses((status = 200, body = CouponList)))]
pub async fn list_coupons(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let active = query.text("active").map(|_| query.flag("active")).transpose()?;
    let request = context.request(pb::ListCouponsRequest { active, page: page.number, page_size: page.size });
    let found = app.clients.pricing.clone().list_coupons(request).await?.into_inner();
    let body = CouponList {
        success: true,
        coupons: found.coupons.into_iter().map(Coupon::from).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}

/// One coupon.
#[utoipa::path(get, path = "/billing/api/billing/admin/coupons/{code}", responses((status = 200, body = OneCoupon)))]
pub async fn get_coupon(
    State(app): State<App>,
    context: Ctx,
    Path(named): Path<String>,
) -> Result<Json<OneCoupon>, Problem> {
    let request = context.request(pb::CouponRequest { code: code(named)? });
    let found = app.clients.pricing.clone().get_coupon(request).await?.into_inner();
    Ok(Json(OneCoupon { success: true, coupon: Coupon::from(present(found.coupon, "coupon")?) }))
}

/// Make a coupon: a percentage or an amount.
#[utoipa::path(post, path = "/billing/api/billing/admin/coupons", request_body = NewCoupon,
    responses((status = 201, body = OneCoupon), (status = 409, description = "coupon_exists")))]
pub async fn create_coupon(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<NewCoupon>,
) -> Result<Response, Problem> {
    reasoned(&body.reason)
        .text("code", &body.code, 3..=40)
        .that(
            body.percent_bp.is_some() != body.amount.is_some(),
            "percent_bp",
            "must be given, or else amount, and not both",
        )
        .that(body.percent_bp != Some(0), "percent_bp", "must be from 1 to 10000")
        .that(body.invoices != Some(0), "invoices", "must be at least 1")
        .that(body.max_uses != Some(0), "max_uses", "must be at least 1")
        .done()?;
    let request = context.request(pb::CreateCouponRequest::from(body));
    let made = app.clients.pricing.clone().create_coupon(request).await?.into_inner();
    let coupon = Coupon::from(present(made.coupon, "coupon")?);
    let location = format!("/billing/api/billing/admin/coupons/{}", coupon.code);
    Ok(answer(StatusCode::CREATED, OneCoupon { success: true, coupon }, Some(&location), None))
}

/// Change the limits of a coupon, or end it. What it takes off stays, and so do subscriptions that have it.
#[utoipa::path(patch, path = "/billing/api/billing/admin/coupons/{code}", request_body = ChangeCoupon,
    responses((status = 200, body = OneCoupon), (status = 409, description = "below_current_use")))]
pub async fn change_coupon(
    State(app): State<App>,
    context: Ctx,
    Path(named): Path<String>,
    Body(body): Body<ChangeCoupon>,
) -> Result<Json<OneCoupon>, Problem> {
    reasoned(&body.reason)
        .that(
            !(body.never_expires && body.expires_at.is_some()),
            "never_expires",
            "cannot be given with an end",
        )
        .done()?;
    let request = context.request(pb::ChangeCouponRequest {
        code: code(named)?,
        active: body.active,
        max_uses: body.max_uses,
        expires_at: body.expires_at.map(timestamp),
        never_expires: body.never_expires,
        reason: body.reason,
    });
    let changed = app.clients.pricing.clone().change_coupon(request).await?.into_inner();
    Ok(Json(OneCoupon { success: true, coupon: Coupon::from(present(changed.coupon, "coupon")?) }))
}

/// Who used a coupon, and on how many invoices it was.
#[utoipa::path(get, path = "/billing/api/billing/admin/coupons/{code}/uses", params(PageParams), responses((status = 200, body = CouponUseList)))]
pub async fn list_coupon_uses(
    State(app): State<App>,
    context: Ctx,
    Path(named): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListCouponUsesRequest {
        code: code(named)?,
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.pricing.clone().list_coupon_uses(request).await?.into_inner();
    let body = CouponUseList {
        success: true,
        uses: found.uses.into_iter().map(CouponUse::from).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}

/// Rates of tax: past, present and planned.
#[utoipa::path(get, path = "/billing/api/billing/admin/tax-rates",
    params(PageParams, ("country" = Option<String>, Query, description = "two letters"), ("on" = Option<String>, Query, description = "in force on this day, such as 2027-01-01")),
    responses((status = 200, body = TaxRateList)))]
pub async fn list_tax_rates(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListTaxRatesRequest {
        country: query.text("country"),
        on: query.text("on"),
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.pricing.clone().list_tax_rates(request).await?.into_inner();
    let body = TaxRateList {
        success: true,
        tax_rates: found.rates.into_iter().map(TaxRate::from).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}

/// Set the rate of a country from a day on. What was issued before stays as it is.
#[utoipa::path(put, path = "/billing/api/billing/admin/tax-rates/{country}", request_body = PutTaxRate,
    responses((status = 200, body = OneTaxRate), (status = 409, description = "rate_in_force")))]
pub async fn put_tax_rate(
    State(app): State<App>,
    context: Ctx,
    Path(named): Path<String>,
    Body(body): Body<PutTaxRate>,
) -> Result<Json<OneTaxRate>, Problem> {
    reasoned(&body.reason)
        .text("name", &body.name, 1..=40)
        .that(body.rate_bp <= 10_000, "rate_bp", "must be at most 10000")
        .done()?;
    let request = context.request(pb::PutTaxRateRequest {
        rate: Some(pb::TaxRate {
            country: country(&named)?,
            name: body.name,
            rate_bp: body.rate_bp,
            reverse_charge: body.reverse_charge,
            valid_from: body.valid_from.0.to_string(),
            valid_until: String::new(),
        }),
        reason: body.reason,
    });
    let put = app.clients.pricing.clone().put_tax_rate(request).await?.into_inner();
    Ok(Json(OneTaxRate { success: true, tax_rate: TaxRate::from(present(put.rate, "rate")?) }))
}

/// End the rate of a country: no tax from a day on.
#[utoipa::path(post, path = "/billing/api/billing/admin/tax-rates/{country}/end", request_body = EndTaxRate,
    responses((status = 200, body = OneTaxRate), (status = 409, description = "no_rate, rate_in_force")))]
pub async fn end_tax_rate(
    State(app): State<App>,
    context: Ctx,
    Path(named): Path<String>,
    Body(body): Body<EndTaxRate>,
) -> Result<Json<OneTaxRate>, Problem> {
    reasoned(&body.reason).done()?;
    let request = context.request(pb::EndTaxRateRequest {
        country: country(&named)?,
        valid_until: body.valid_until.0.to_string(),
        reason: body.reason,
    });
    let ended = app.clients.pricing.clone().end_tax_rate(request).await?.into_inner();
    Ok(Json(OneTaxRate { success: true, tax_rate: TaxRate::from(present(ended.rate, "rate")?) }))
}

/// Take a planned rate of a country, or a planned end of one, back before its day has come.
#[utoipa::path(post, path = "/billing/api/billing/admin/tax-rates/{country}/withdraw", request_body = WithdrawTaxRate,
    responses((status = 200, body = WithdrawnTaxRate), (status = 409, description = "no_rate, rate_in_force")))]
pub async fn withdraw_tax_rate(
    State(app): State<App>,
    context: Ctx,
    Path(named): Path<String>,
    Body(body): Body<WithdrawTaxRate>,
) -> Result<Json<WithdrawnTaxRate>, Problem> {
    reasoned(&body.reason).done()?;
    let request = context.request(pb::WithdrawTaxRateRequest {
        country: country(&named)?,
        valid_from: body.valid_from.0.to_string(),
        reason: body.reason,
    });
    let left = app.clients.pricing.clone().withdraw_tax_rate(request).await?.into_inner();
    Ok(Json(WithdrawnTaxRate { success: true, tax_rate: left.rate.map(TaxRate::from) }))
}
