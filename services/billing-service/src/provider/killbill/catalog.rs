//! Our plan rows as a Kill Bill catalogue, and whether the one that it has says the same. All plans stay in
//! it, also those that are not for sale any more: somebody may have them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::model::CatalogVersion;
use super::values::Decimal;
use crate::domain::period::BillingPeriod;
use crate::domain::plan::Plan;
use crate::provider::ProviderError;

/// Name of the catalogue; it must be the same in all versions.
const NAME: &str = "saasodoo";

/// What a plan is in either catalogue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    plan: String,
    product: String,
    period: String,
    currency: String,
    minor: i64,
    trial_days: i64,
}

/// Kill Bill's word for a period.
pub fn period(period: BillingPeriod) -> &'static str {
    match period {
        BillingPeriod::Monthly => "MONTHLY",
        BillingPeriod::Quarterly => "QUARTERLY",
        BillingPeriod::Biannual => "BIANNUAL",
        BillingPeriod::Annual => "ANNUAL",
    }
}

fn wanted(plans: &[Plan]) -> BTreeSet<Line> {
    plans
        .iter()
        .map(|plan| Line {
            plan: plan.name.clone(),
            product: plan.tier.to_string(),
            period: period(plan.billing_period).to_owned(),
            currency: plan.price.currency().to_string(),
            minor: plan.price.minor(),
            trial_days: plan.trial_days.into(),
        })
        .collect()
}

fn present(version: &CatalogVersion) -> BTreeSet<Line> {
    let plans =
        version.products.iter().flat_map(|product| product.plans.iter().map(move |plan| (product, plan)));
    plans
        .flat_map(|(product, plan)| {
            let phase = |kind: &str| plan.phases.iter().find(|phase| phase.kind == kind);
            let trial =
                phase("TRIAL").and_then(|phase| phase.duration.as_ref()).map_or(0, |length| length.number);
            let prices = phase("EVERGREEN").map(|phase| phase.prices.as_slice()).unwrap_or_default();
            prices.iter().map(move |price| Line {
                plan: plan.name.clone(),
                product: product.name.clone(),
                period: plan.billing_period.clone().unwrap_or_default(),
                currency: price.currency.clone(),
                // What cannot be read is another price.
                minor: price
                    .currency
                    .parse()
                    .ok()
                    .and_then(|currency| price.value.money(currency).ok())
                    .map_or(i64::MIN, crate::domain::money::Money::minor),
                trial_days: trial,
            })
        })
        .collect()
}

/// Whether the newest version says what our rows say.
pub fn matches(versions: &[CatalogVersion], plans: &[Plan]) -> bool {
    let newest = versions.iter().max_by_key(|version| version.effective_date);
    newest.is_some_and(|version| present(version) == wanted(plans))
}

/// The catalogue as XML, in force from `from` on. Subscriptions keep the version that they began with.
pub fn xml(plans: &[Plan], from: OffsetDateTime) -> Result<String, ProviderError> {
    if let Some(bad) = plans.iter().find(|plan| !is_name(&plan.name)) {
        return Err(ProviderError::Refused(format!(
            "{:?} cannot be the name of a plan in Kill Bill",
            bad.name
        )));
    }
    let from = from.replace_nanosecond(0).ok().and_then(|at| at.format(&Rfc3339).ok());
    let from = from.ok_or_else(|| ProviderError::Refused("no date for the catalogue".into()))?;
    let currencies: BTreeSet<String> = plans.iter().map(|plan| plan.price.currency().to_string()).collect();
    let products: BTreeSet<String> = plans.iter().map(|plan| plan.tier.to_string()).collect();
    let list = |items: &BTreeSet<String>, item: fn(&str) -> String| -> String {
        items.iter().map(|text| item(text)).collect()
    };
    let mut bodies = BTreeMap::new();
    for plan in plans {
        bodies.insert(plan.name.as_str(), body(plan));
    }
    let bodies: String = bodies.into_values().collect();
    let mut names = String::new();
    for plan in plans {
        let _infallible = write!(names, "<plan>{}</plan>", plan.name);
    }
    let currencies = list(&currencies, |code| format!("<currency>{code}</currency>"));
    let products =
        list(&products, |name| format!("<product name=\"{name}\"><category>BASE</category></product>"));
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n\
         <catalog xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:noNamespaceSchemaLocation=\"CatalogSchema.xsd\">\
         <effectiveDate>{from}</effectiveDate><catalogName>{NAME}</catalogName>\
         <recurringBillingMode>IN_ADVANCE</recurringBillingMode><currencies>{currencies}</currencies><products>{products}</products>\
         <rules><changePolicy><changePolicyCase><policy>IMMEDIATE</policy></changePolicyCase></changePolicy>\
         <changeAlignment><changeAlignmentCase><alignment>START_OF_SUBSCRIPTION</alignment></changeAlignmentCase></changeAlignment>\
         <cancelPolicy><cancelPolicyCase><policy>END_OF_TERM</policy></cancelPolicyCase></cancelPolicy>\
         <createAlignment><createAlignmentCase><alignment>START_OF_SUBSCRIPTION</alignment></createAlignmentCase></createAlignment>\
         <billingAlignment><billingAlignmentCase><alignment>SUBSCRIPTION</alignment></billingAlignmentCase></billingAlignment>\
         <priceList><priceListCase><toPriceList>DEFAULT</toPriceList></priceListCase></priceList></rules>\
         <plans>{bodies}</plans>\
         <priceLists><defaultPriceList name=\"DEFAULT\"><plans>{names}</plans></defaultPriceList></priceLists></catalog>\n"
    ))
}

fn body(plan: &Plan) -> String {
    let trial = plan.trial().map_or_else(String::new, |days| {
        format!(
            "<initialPhases><phase type=\"TRIAL\"><duration><unit>DAYS</unit><number>{days}</number></duration>\
             <fixed><fixedPrice/></fixed></phase></initialPhases>"
        )
    });
    format!(
        "<plan name=\"{}\"><product>{}</product>{trial}<finalPhase type=\"EVERGREEN\"><duration><unit>UNLIMITED</unit></duration>\
         <recurring><billingPeriod>{}</billingPeriod><recurringPrice><price><currency>{}</currency><value>{:?}</value></price></recurringPrice>\
         </recurring></finalPhase></plan>",
        plan.name,
        plan.tier,
        period(plan.billing_period),
        plan.price.currency(),
        Decimal::of(plan.price),
    )
}

/// Names are XML ids: no quoting is needed for what passes here.
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::catalogue::{DbType, Tier};
    use crate::domain::money::{Currency, Money};
    use time::macros::datetime;

    pub(in crate::provider::killbill) fn plan(name: &str, cents: i64, trial_days: u16) -> Plan {
        Plan {
            name: name.into(),
            product: "Odoo Basic".into(),
            tier: Tier::Basic,
            description: String::new(),
            billing_period: BillingPeriod::Monthly,
            price: Money::new(cents, Currency::USD),
            trial_days,
            active: true,
            entitlement_version: 1,
            cpu_millis: 1000,
            memory_mib: 2048,
            storage_mib: 10240,
            db_type: DbType::Shared,
            db_tier: "starter".into(),
            backup_schedule: "daily".into(),
            backups_keep: 7,
        }
    }

    fn versions(value: &str) -> Vec<CatalogVersion> {
        // As 0.22.26 answered, shortened.
        let text = format!(
            r#"[{{"name":"saasodoo","effectiveDate":"2020-01-01T00:00:00.000+00:00","products":[{{"type":"BASE","name":"basic","plans":[
               {{"name":"basic-monthly","billingPeriod":"MONTHLY","phases":[{{"type":"TRIAL","prices":[],"fixedPrices":[],"duration":{{"unit":"DAYS","number":14}}}},
               {{"type":"EVERGREEN","prices":[{{"currency":"USD","value":{value}}}],"duration":{{"unit":"UNLIMITED","number":-1}}}}]}}]}}]}}]"#
        );
        serde_json::from_str(&text).unwrap()
    }

    /// BIL-32: the same prices in other words are no difference.
    #[test]
    fn only_another_meaning_is_a_difference() {
        let rows = [plan("basic-monthly", 900, 14)];
        assert!(matches(&versions("9.00"), &rows) && matches(&versions("9"), &rows));
        assert!(!matches(&versions("9.01"), &rows));
        assert!(!matches(&versions("9.00"), &[plan("basic-monthly", 900, 7)]));
        assert!(!matches(&versions("9.00"), &[rows[0].clone(), plan("other", 900, 0)]));
        assert!(!matches(&[], &rows));
    }

    #[test]
    fn prices_stand_in_the_catalogue_as_they_are() {
        let text =
            xml(&[plan("basic-monthly", 900, 14), plan("plain", 5, 0)], datetime!(2026-11-25 6:00:00.5 UTC))
                .unwrap();
        assert!(text.contains("<value>9.00</value>") && text.contains("<value>0.05</value>"), "{text}");
        assert!(text.contains("<effectiveDate>2026-11-25T06:00:00Z</effectiveDate>"), "{text}");
        assert_eq!(text.matches("<initialPhases>").count(), 1);
        assert!(xml(&[plan("a\"/>", 900, 0)], datetime!(2026-11-25 6:00 UTC)).is_err());
    }
}
