//! Coupons, rates of tax and findings as admins change them (BIL-36, BIL-37, SEC-17).

use billing_service::app::accounts::overview;
use billing_service::app::audit::run::audit;
use billing_service::app::invoices::charges;
use billing_service::app::provider::reconcile;
use billing_service::domain::invoice::{Line, LineKind};
use billing_service::domain::money::{Currency, Money};
use billing_service::domain::subscription::ProvisionPolicy;
use contracts::billing::v1 as proto;
use contracts::billing::v1::audit_admin_service_client::AuditAdminServiceClient;
use contracts::billing::v1::pricing_admin_service_client::PricingAdminServiceClient;
use runtime::clock;
use runtime::grpc::Authenticated;
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::world::World;

struct Case {
    world: World,
    admin: Uuid,
}

impl Case {
    async fn begin(pool: &PgPool) -> Self {
        Self { world: World::ledger(pool, ProvisionPolicy::OnInvoice).await, admin: Uuid::now_v7() }
    }

    fn pricing(&self) -> PricingAdminServiceClient<Authenticated> {
        PricingAdminServiceClient::new(self.world.api.channel())
    }

    fn audits(&self) -> AuditAdminServiceClient<Authenticated> {
        AuditAdminServiceClient::new(self.world.api.channel())
    }

    fn ask<T>(&self, message: T) -> tonic::Request<T> {
        self.world.by(self.admin, Role::Admin, message)
    }

    async fn create(&self, coupon: proto::Coupon) -> Result<proto::Coupon, Status> {
        let request = proto::CreateCouponRequest { coupon: Some(coupon), reason: "a campaign".into() };
        Ok(self.pricing().create_coupon(self.ask(request)).await?.into_inner().coupon.unwrap())
    }

    async fn change(&self, request: proto::ChangeCouponRequest) -> Result<proto::Coupon, Status> {
        let request = proto::ChangeCouponRequest { reason: "it is enough".into(), ..request };
        Ok(self.pricing().change_coupon(self.ask(request)).await?.into_inner().coupon.unwrap())
    }

    async fn put(&self, country: &str, from: &str, rate_bp: u32) -> Result<proto::TaxRate, Status> {
        let rate = proto::TaxRate {
            country: country.into(),
            name: "VAT".into(),
            rate_bp,
            valid_from: from.into(),
            ..proto::TaxRate::default()
        };
        let request = proto::PutTaxRateRequest { rate: Some(rate), reason: "a new law".into() };
        Ok(self.pricing().put_tax_rate(self.ask(request)).await?.into_inner().rate.unwrap())
    }

    async fn withdraw(&self, country: &str, from: &str) -> Result<Option<proto::TaxRate>, Status> {
        let request = proto::WithdrawTaxRateRequest {
            country: country.into(),
            valid_from: from.into(),
            reason: "the law was not passed".into(),
        };
        Ok(self.pricing().withdraw_tax_rate(self.ask(request)).await?.into_inner().rate)
    }

    async fn end(&self, country: &str, until: &str) -> Result<proto::TaxRate, Status> {
        let request = proto::EndTaxRateRequest {
            country: country.into(),
            valid_until: until.into(),
            reason: "a new law".into(),
        };
        Ok(self.pricing().end_tax_rate(self.ask(request)).await?.into_inner().rate.unwrap())
    }

    async fn rates(&self, on: Option<&str>) -> Vec<(String, u32, String, String)> {
        let request = proto::ListTaxRatesRequest { on: on.map(str::to_owned), ..Default::default() };
        let found = self.pricing().list_tax_rates(self.ask(request)).await.unwrap().into_inner();
        assert_eq!(usize::try_from(found.total).unwrap(), found.rates.len());
        let row = |rate: proto::TaxRate| (rate.country, rate.rate_bp, rate.valid_from, rate.valid_until);
        found.rates.into_iter().map(row).collect()
    }

    async fn findings(&self, state: &str) -> Vec<proto::Finding> {
        let request = proto::ListFindingsRequest { state: Some(state.into()), ..Default::default() };
        self.audits().list_findings(self.ask(request)).await.unwrap().into_inner().findings
    }

    /// Actions in the audit log, in order, each with its reason and the one who did it.
    async fn log(&self) -> Vec<String> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT action, actor, reason FROM audit_log ORDER BY id")
                .fetch_all(&self.world.pool)
                .await
                .unwrap();
        rows.into_iter()
            .map(|(action, actor, reason)| {
                assert_eq!((actor, reason.is_empty()), (self.admin.to_string(), false), "{action}");
                action
            })
            .collect()
    }

    async fn order(&self, email: &str, coupon: &str) -> Result<proto::PlaceOrderResponse, Status> {
        let customer = self.world.directory.add(email);
        let request = proto::PlaceOrderRequest {
            instance_id: Uuid::now_v7().to_string(),
            customer_id: customer.to_string(),
            plan_name: "standard-monthly".into(),
            trial: Some(false),
            coupon: coupon.into(),
            ..proto::PlaceOrderRequest::default()
        };
        Ok(self.world.orders().place_order(request).await?.into_inner())
    }
}

fn spring() -> proto::Coupon {
    proto::Coupon {
        code: "spring".into(),
        percent_bp: 2_500,
        max_uses: 2,
        invoices: 3,
        once_per_customer: true,
        ..proto::Coupon::default()
    }
}

/// BIL-36: a coupon is made, used, counted, limited and ended; what it took off stays, and everything is in
/// the audit log.
#[sqlx::test(migrations = "./migrations")]
async fn a_coupon_lives_by_routes_alone(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let made = case.create(spring()).await.unwrap();
    assert_eq!((made.code.as_str(), made.percent_bp, made.active, made.uses), ("SPRING", 2_500, true, 0));
    assert_eq!(case.create(spring()).await.unwrap_err().code(), Code::FailedPrecondition, "taken");
    let both = proto::Coupon {
        code: "BOTH".into(),
        amount: Some(proto::Money { amount_minor: 5, currency: "USD".into() }),
        ..spring()
    };
    for bad in
        [both, proto::Coupon { percent_bp: 0, ..spring() }, proto::Coupon { code: "a b".into(), ..spring() }]
    {
        assert_eq!(case.create(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }

    for customer in ["ada@example.com", "bob@example.com"] {
        let placed = case.order(customer, "SPRING").await.unwrap();
        assert_eq!(placed.invoice.unwrap().total.unwrap().amount_minor, 1425);
    }
    let uses = proto::ListCouponUsesRequest { code: "spring".into(), page: 1, page_size: 1 };
    let uses = case.pricing().list_coupon_uses(case.ask(uses)).await.unwrap().into_inner();
    assert_eq!((uses.total, uses.uses.len(), uses.uses[0].invoices), (2, 1, 1));

    let limit = |max_uses| proto::ChangeCouponRequest {
        code: "SPRING".into(),
        max_uses: Some(max_uses),
        ..Default::default()
    };
    assert_eq!(case.change(limit(1)).await.unwrap_err().code(), Code::FailedPrecondition, "used twice");
    assert_eq!(case.change(limit(3)).await.unwrap().max_uses, 3);
    case.order("eve@example.com", "SPRING").await.unwrap();
    let off = proto::ChangeCouponRequest { code: "SPRING".into(), active: Some(false), ..Default::default() };
    let ended = case.change(off.clone()).await.unwrap();
    assert_eq!((ended.active, ended.uses, ended.percent_bp), (false, 3, 2_500));
    case.change(off).await.unwrap();
    let refused = case.order("late@example.com", "SPRING").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let list = |active| proto::ListCouponsRequest { active, ..Default::default() };
    let found = case.pricing().list_coupons(case.ask(list(Some(true)))).await.unwrap().into_inner();
    assert_eq!(found.total, 0);
    let found = case.pricing().list_coupons(case.ask(list(None))).await.unwrap().into_inner();
    assert_eq!((found.total, found.coupons[0].code.as_str()), (1, "SPRING"));
    assert_eq!(
        case.log().await,
        ["coupon_created", "coupon_changed", "coupon_changed"],
        "what changed nothing has no row"
    );
}

/// BIL-36: a rate holds from its day on, the one before it until then; what has begun is never changed, and
/// an end is an end.
#[sqlx::test(migrations = "./migrations")]
async fn the_past_of_a_tax_rate_is_never_changed(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let day =
        |days: i64| billing_service::domain::tax::day(clock::now() + time::Duration::days(days)).to_string();
    let (today, soon, later) = (day(0), day(10), day(20));
    case.put("de", &today, 1_900).await.unwrap();
    case.put("DE", &today, 1_900).await.expect("the same again changes nothing");
    for (from, code) in [(&today, Code::FailedPrecondition), (&day(-1), Code::InvalidArgument)] {
        assert_eq!(case.put("DE", from, 100).await.unwrap_err().code(), code, "{from}");
    }
    for (country, from) in [("DEU", soon.as_str()), ("D1", &soon), ("DE", "tomorrow"), ("DE", "2027-02-30")] {
        assert_eq!(case.put(country, from, 100).await.unwrap_err().code(), Code::InvalidArgument, "{from}");
    }
    case.put("DE", &soon, 1_800).await.unwrap();
    case.put("DE", &soon, 2_000).await.expect("one that has not begun may be changed");
    let ended = case.end("DE", &later).await.unwrap();
    assert_eq!((ended.rate_bp, ended.valid_until.as_str()), (2_000, later.as_str()));
    assert_eq!(case.end("FR", &later).await.unwrap_err().code(), Code::FailedPrecondition);
    let row = |rate, from: &str, until: &str| ("DE".to_owned(), rate, from.to_owned(), until.to_owned());
    assert_eq!(case.rates(None).await, [row(2_000, &soon, &later), row(1_900, &today, &soon)]);
    assert_eq!(case.rates(Some(&today)).await, [row(1_900, &today, &soon)]);
    assert_eq!(case.rates(Some(&later)).await, []);
    assert_eq!(
        case.log().await,
        ["tax_rate_set", "tax_rate_set", "tax_rate_set", "tax_rate_ended"],
        "one that was there has no second row"
    );
}

/// BIL-36: what is planned can be taken back until its day has come, a rate as well as an end; what was
/// before it goes on.
#[sqlx::test(migrations = "./migrations")]
async fn a_planned_tax_rate_can_be_withdrawn(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let day =
        |days: i64| billing_service::domain::tax::day(clock::now() + time::Duration::days(days)).to_string();
    let (today, soon, later) = (day(0), day(10), day(20));
    case.put("DE", &today, 1_900).await.unwrap();
    case.put("DE", &soon, 2_000).await.unwrap();
    case.end("DE", &later).await.unwrap();
    for (from, code) in [(&today, Code::FailedPrecondition), (&day(5), Code::FailedPrecondition)] {
        assert_eq!(case.withdraw("DE", from).await.unwrap_err().code(), code, "{from}");
    }
    assert_eq!(case.withdraw("DE", "soon").await.unwrap_err().code(), Code::InvalidArgument);
    let left = case.withdraw("de", &later).await.unwrap().expect("the rate that was to end");
    assert_eq!((left.rate_bp, left.valid_until.as_str()), (2_000, ""));
    let left = case.withdraw("DE", &soon).await.unwrap().expect("the rate before it");
    assert_eq!(
        (left.rate_bp, left.valid_from.as_str(), left.valid_until.as_str()),
        (1_900, today.as_str(), "")
    );
    assert_eq!(case.withdraw("DE", &soon).await.unwrap_err().code(), Code::FailedPrecondition, "gone");
    case.put("FR", &soon, 2_000).await.unwrap();
    assert_eq!(case.withdraw("FR", &soon).await.unwrap(), None, "no tax, as before");
    let log = case.log().await;
    assert_eq!(log.iter().filter(|action| *action == "tax_rate_withdrawn").count(), 3, "{log:?}");
}

/// BIL-36: an invoice has the rate of the day on which it is issued, and the preview of the next one that of
/// its own day.
#[sqlx::test(migrations = "./migrations")]
async fn an_invoice_has_the_rate_of_its_day(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let now = clock::now();
    let in_days = |days: i64| billing_service::domain::tax::day(now + time::Duration::days(days)).to_string();
    case.put("DE", &in_days(0), 1_900).await.unwrap();
    case.put("DE", &in_days(20), 1_000).await.unwrap();
    case.end("DE", &in_days(50)).await.unwrap();
    let customer = case.world.directory.add("ada@example.com");
    sqlx::query("INSERT INTO customers (id, country) VALUES ($1, 'DE')")
        .bind(customer)
        .execute(&pool)
        .await
        .unwrap();
    let placed = case.world.order_plan(customer, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
    assert_eq!(placed.invoice.unwrap().tax.unwrap().amount_minor, 171);
    let app = &case.world.app;
    let next = overview::overview(app, customer).await.unwrap().next.unwrap();
    assert_eq!(next.1.minor(), 990, "the rate that holds then");
    let plan = [Line::one(LineKind::Plan, "", Money::new(900, Currency::USD), None)];
    for (days, tax) in [(20, 90), (49, 90), (50, 0)] {
        let mut connection = pool.acquire().await.unwrap();
        let at = now + time::Duration::days(days);
        let quoted = charges::quote(&mut connection, customer, Currency::USD, &plan, at).await.unwrap();
        assert_eq!(quoted.tax.minor(), tax, "after {days} days");
    }
}

/// BIL-37: a finding is one row while it lasts, is acknowledged once, and is resolved by the run that does
/// not find it; the same fault later is another.
#[sqlx::test(migrations = "./migrations")]
async fn a_finding_is_open_until_a_run_does_not_find_it(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let (stray, customer) = (Uuid::now_v7(), Uuid::now_v7());
    let run = || async { audit(&case.world.app, "test", clock::now()).await.unwrap() };
    case.world.instances.live(stray, customer, None);
    run().await;
    run().await;
    let open = case.findings("open").await;
    assert_eq!(open.len(), 1, "{open:?}");
    let finding = &open[0];
    assert_eq!(
        (finding.kind.as_str(), finding.subject_id.as_str()),
        ("instance_without_subscription", stray.to_string().as_str())
    );
    assert!(
        contracts::scalars::datetime(finding.last_seen_at.as_ref().unwrap())
            > contracts::scalars::datetime(finding.first_seen_at.as_ref().unwrap())
    );

    let alerts =
        || case.world.metric("billing_audit_findings{kind=\"instance_without_subscription\"}").unwrap();
    assert_eq!(alerts(), "1");
    let know = |id: &str| proto::AcknowledgeFindingRequest { finding_id: id.into(), reason: "a demo".into() };
    let known = case.audits().acknowledge_finding(case.ask(know(&finding.id))).await.unwrap().into_inner();
    assert_eq!(known.finding.unwrap().acknowledged_by, case.admin.to_string());
    let again = case.audits().acknowledge_finding(case.ask(know(&finding.id))).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    let nobody = case.audits().acknowledge_finding(case.ask(know(&Uuid::now_v7().to_string()))).await;
    assert_eq!(nobody.unwrap_err().code(), Code::NotFound);
    run().await;
    assert_eq!(case.findings("open").await[0].acknowledge_reason, "a demo", "it stays open and known");
    assert_eq!(alerts(), "0", "who knows of it is not called again");

    case.world.instances.live(stray, customer, Some(Uuid::now_v7()));
    run().await;
    let open = case.findings("open").await;
    assert_eq!((open.len(), open[0].id.as_str(), open[0].acknowledged_at), (1, finding.id.as_str(), None));
    assert_eq!(alerts(), "1", "nobody knows of what is new about it");
    case.audits().acknowledge_finding(case.ask(know(&finding.id))).await.unwrap();
    assert_eq!(alerts(), "0", "and at once, not with the next run");

    case.world.instances.gone(stray);
    run().await;
    assert_eq!(case.findings("open").await, []);
    let resolved = case.findings("resolved").await;
    assert_eq!((resolved.len(), resolved[0].id.as_str()), (1, finding.id.as_str()));
    assert!(resolved[0].resolved_at.is_some());

    case.world.instances.live(stray, customer, None);
    run().await;
    let open = case.findings("open").await;
    assert_eq!((open.len(), open[0].acknowledged_at), (1, None));
    assert_ne!(open[0].id, finding.id);
    assert_eq!(alerts(), "1");
    assert_eq!(case.log().await, ["finding_acknowledged", "finding_acknowledged"]);
}

/// BIL-37: a run that failed resolves nothing, and the word of a run is not taken when a later one has ended.
#[sqlx::test(migrations = "./migrations")]
async fn only_the_latest_word_of_the_audit_counts(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let stray = Uuid::now_v7();
    case.world.instances.live(stray, Uuid::now_v7(), None);
    let now = clock::now();
    audit(&case.world.app, "test", now).await.unwrap();
    case.world.instances.set_away(true);
    audit(&case.world.app, "test", now).await.unwrap_err();
    assert_eq!(case.findings("open").await.len(), 1);
    case.world.instances.set_away(false);
    case.world.instances.gone(stray);
    audit(&case.world.app, "slow", now - time::Duration::minutes(5)).await.unwrap();
    assert_eq!(case.findings("open").await.len(), 1, "it began before the run that found it");
    audit(&case.world.app, "test", now + time::Duration::seconds(1)).await.unwrap();
    assert_eq!(case.findings("open").await, []);
}

/// BIL-37: an admin orders the audit, and finds the run of the order.
#[sqlx::test(migrations = "./migrations")]
async fn an_ordered_audit_is_found_by_its_task(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let order = proto::RunAuditRequest { reason: "month end".into() };
    let task = case.audits().run_audit(case.ask(order)).await.unwrap().into_inner().task_id;
    let list = || proto::ListAuditsRequest { task_id: Some(task.clone()), ..Default::default() };
    let before = case.audits().list_audits(case.ask(list())).await.unwrap().into_inner();
    assert_eq!(before.total, 0);
    audit(&case.world.app, "schedule", clock::now()).await.unwrap();
    reconcile::run_tasks(&case.world.app, clock::now()).await.unwrap();
    let after = case.audits().list_audits(case.ask(list())).await.unwrap().into_inner();
    assert_eq!((after.total, after.audits[0].state.as_str()), (1, "done"));
    assert_eq!(after.audits[0].counts["journal_unbalanced"], 0);
    assert_eq!(case.log().await, ["audit_ordered"]);
}

/// SEC-02: nobody below an admin, and no reason no change.
#[sqlx::test(migrations = "./migrations")]
async fn only_admins_change_prices_and_they_say_why(pool: PgPool) {
    let case = Case::begin(&pool).await;
    for role in [Role::Customer, Role::Operator] {
        let request = case.world.by(Uuid::now_v7(), role, proto::ListCouponsRequest::default());
        let refused = case.pricing().list_coupons(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{role}");
    }
    let request = proto::CreateCouponRequest { coupon: Some(spring()), reason: " ".into() };
    let refused = case.pricing().create_coupon(case.ask(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(case.world.count("coupons").await, 0);
}
