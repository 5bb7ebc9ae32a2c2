//! Coupons, made and limited by admins (BIL-36). None is ever deleted: invoices name it.

use runtime::page::Page;
use time::OffsetDateTime;

use crate::app::App;
use crate::app::caller::Caller;
use crate::domain::coupon::{Coupon, CouponUse, Limits, ListedCoupon, normal};
use crate::error::Error;
use crate::store::audit;
use crate::store::coupons::{self, manage};

/// Makes one.
pub async fn create(app: &App, by: &Caller, coupon: Coupon) -> Result<ListedCoupon, Error> {
    coupon.check().map_err(|(field, message)| Error::Field { field, message })?;
    let mut tx = app.pool.begin().await?;
    if !manage::insert(&mut *tx, &coupon).await? {
        return Err(Error::Refused("coupon_exists", "there is a coupon with this code"));
    }
    let details = serde_json::json!({ "code": coupon.code, "takes_off": coupon.describe(), "max_uses": coupon.max_uses });
    audit::write(&mut tx, &by.audit_of_rule("coupon_created", details)).await?;
    let made = manage::find(&mut *tx, &coupon.code).await?.ok_or(Error::Conflict)?;
    tx.commit().await?;
    Ok(made)
}

/// Changes its limits, or ends it. Subscriptions that have it keep it. What changes nothing leaves no trace.
pub async fn change(
    app: &App,
    by: &Caller,
    code: &str,
    limits: &Limits,
    now: OffsetDateTime,
) -> Result<ListedCoupon, Error> {
    let code = normal(code);
    let mut tx = app.pool.begin().await?;
    let before = coupons::lock(&mut tx, &code).await?.ok_or(Error::NotFound("coupon"))?;
    let after = before.limited(limits, now).map_err(|(field, message)| Error::Field { field, message })?;
    if after.max_uses.is_some_and(|most| most < after.uses) && after.max_uses != before.max_uses {
        return Err(Error::Refused("below_current_use", "the coupon was used more often than that"));
    }
    if after != before {
        manage::set_limits(&mut tx, &after).await?;
        let limits = |coupon: &Coupon| serde_json::json!({ "active": coupon.active, "max_uses": coupon.max_uses, "expires_at": coupon.expires_at.map(|at| at.to_string()) });
        let details = serde_json::json!({ "code": code, "before": limits(&before), "after": limits(&after) });
        audit::write(&mut tx, &by.audit_of_rule("coupon_changed", details)).await?;
    }
    let changed = manage::find(&mut *tx, &code).await?.ok_or(Error::Conflict)?;
    tx.commit().await?;
    Ok(changed)
}

/// A page of coupons, and how many there are.
pub async fn list(app: &App, active: Option<bool>, page: Page) -> Result<(Vec<ListedCoupon>, i64), Error> {
    Ok(manage::list(&app.pool, active, page).await?)
}

/// One of them.
pub async fn find(app: &App, code: &str) -> Result<ListedCoupon, Error> {
    manage::find(&app.pool, &normal(code)).await?.ok_or(Error::NotFound("coupon"))
}

/// A page of the uses of a coupon, and how many there are.
pub async fn uses(app: &App, code: &str, page: Page) -> Result<(Vec<CouponUse>, i64), Error> {
    find(app, code).await?;
    Ok(manage::uses(&app.pool, &normal(code), page).await?)
}
