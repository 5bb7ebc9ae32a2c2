//! What the fake remembers, and what happens as its clock moves.

use serde_json::{Value, json};
use time::{Date, Duration, Month, OffsetDateTime};
use uuid::Uuid;

use super::Line;

/// A plan of a catalogue; amounts in cents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub name: String,
    pub product: String,
    pub period: String,
    pub cents: i64,
    pub trial_days: i64,
}

impl Plan {
    fn months(&self) -> i32 {
        match self.period.as_str() {
            "QUARTERLY" => 3,
            "BIANNUAL" => 6,
            "ANNUAL" => 12,
            _ => 1,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Catalog {
    pub effective: OffsetDateTime,
    pub effective_text: String,
    pub name: String,
    pub plans: Vec<Plan>,
}

#[derive(Debug, Clone)]
pub(super) struct Account {
    pub id: Uuid,
    pub key: String,
    pub currency: String,
    pub tags: Vec<Uuid>,
    pub has_method: bool,
    pub credit: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Subscription {
    pub id: Uuid,
    pub bundle: Uuid,
    pub account: Uuid,
    pub key: String,
    pub plan: Plan,
    pub start: OffsetDateTime,
    pub trial_end: Option<OffsetDateTime>,
    pub in_trial: bool,
    pub charged: OffsetDateTime,
    pub anchor: u8,
    pub pending: Option<(Plan, OffsetDateTime)>,
    pub cancelled: Option<OffsetDateTime>,
    pub over: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub id: Uuid,
    pub kind: &'static str,
    pub subscription: Option<Uuid>,
    pub description: String,
    pub start: OffsetDateTime,
    pub end: OffsetDateTime,
    pub cents: i64,
    pub linked: Option<Uuid>,
}

#[derive(Debug, Clone)]
pub(super) struct Invoice {
    pub id: Uuid,
    pub number: usize,
    pub account: Uuid,
    pub date: OffsetDateTime,
    pub items: Vec<Item>,
    pub paid: i64,
    pub written_off: bool,
    pub void: bool,
}

impl Invoice {
    pub fn amount(&self) -> i64 {
        self.items.iter().filter(|item| item.kind != "CBA_ADJ").map(|item| item.cents).sum()
    }

    pub fn balance(&self) -> i64 {
        if self.written_off || self.void {
            return 0;
        }
        self.items.iter().map(|item| item.cents).sum::<i64>() - self.paid
    }
}

#[derive(Debug, Clone)]
pub(super) struct Payment {
    pub id: Uuid,
    pub key: String,
    pub account: Uuid,
    pub invoice: Uuid,
    pub cents: i64,
    pub at: OffsetDateTime,
    /// Key, transaction and amount of each.
    pub refunds: Vec<(String, Uuid, i64)>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Tenant {
    pub callback: Option<String>,
    pub catalogs: Vec<Catalog>,
    pub accounts: Vec<Account>,
    pub subscriptions: Vec<Subscription>,
    pub invoices: Vec<Invoice>,
    pub payments: Vec<Payment>,
    pub hooks: Vec<String>,
}

impl Tenant {
    pub fn plan(&self, name: &str) -> Option<Plan> {
        self.catalogs.iter().max_by_key(|c| c.effective)?.plans.iter().find(|plan| plan.name == name).cloned()
    }

    pub fn hook(&mut self, event: &str, account: Uuid, object: &str, id: Uuid, meta: Option<Value>) {
        let meta = meta.map_or(Value::Null, |meta| Value::String(meta.to_string()));
        let body = json!({"eventType": event, "accountId": account, "objectType": object, "objectId": id, "metaData": meta});
        self.hooks.push(body.to_string());
    }

    /// SUBSCRIPTION_CREATION, _CHANGE and _CANCEL come twice.
    pub fn twins(&mut self, event: &str, subscription: &Subscription) {
        for action in ["REQUESTED", "EFFECTIVE"] {
            let meta = json!({"actionType": action, "bundleExternalKey": subscription.key, "subscriptionChangeUndo": false});
            self.hook(event, subscription.account, "SUBSCRIPTION", subscription.id, Some(meta));
        }
    }

    /// Makes an invoice; waiting credit is used at once.
    pub fn invoice(&mut self, account: Uuid, now: OffsetDateTime, items: Vec<Item>) {
        let id = Uuid::new_v4();
        let number = self.invoices.len() + 1;
        self.invoices.push(Invoice {
            id,
            number,
            account,
            date: now,
            items,
            paid: 0,
            written_off: false,
            void: false,
        });
        self.hook("INVOICE_CREATION", account, "INVOICE", id, None);
        self.use_credit(account, now);
    }

    /// Credit goes to the oldest invoice that is owed; what an invoice has too much becomes credit.
    pub fn use_credit(&mut self, account: Uuid, now: OffsetDateTime) {
        let Some(owner) = self.accounts.iter_mut().find(|found| found.id == account) else { return };
        for invoice in self.invoices.iter_mut().filter(|invoice| invoice.account == account) {
            let balance = invoice.balance();
            if balance < 0 {
                owner.credit -= balance;
                invoice.items.push(adjustment("CBA_ADJ", "Adjustment (account credit)", now, -balance));
            }
        }
        for invoice in self.invoices.iter_mut().filter(|invoice| invoice.account == account) {
            let part = invoice.balance().min(owner.credit);
            if part > 0 {
                owner.credit -= part;
                invoice.items.push(adjustment("CBA_ADJ", "Adjustment (account credit)", now, -part));
            }
        }
    }

    /// Charges the period that begins at `from`.
    pub fn charge(&mut self, index: usize, from: OffsetDateTime) {
        let Some(subscription) = self.subscriptions.get_mut(index) else { return };
        let end = add_months(from, subscription.plan.months(), subscription.anchor);
        subscription.charged = end;
        let item = Item {
            id: Uuid::new_v4(),
            kind: "RECURRING",
            subscription: Some(subscription.id),
            description: format!("{}-evergreen", subscription.plan.name),
            start: from,
            end,
            cents: subscription.plan.cents,
            linked: None,
        };
        let account = subscription.account;
        self.invoice(account, from, vec![item]);
    }

    /// Repairs what was charged beyond `now` and, with a new plan, charges that for the rest.
    pub fn repair(&mut self, index: usize, now: OffsetDateTime, to: Option<Plan>) {
        let Some(subscription) = self.subscriptions.get_mut(index) else { return };
        let (account, end) = (subscription.account, subscription.charged);
        let mut items = repair_items(subscription, now, to.as_ref());
        let of_period = |item: &&Item| {
            item.kind == "RECURRING" && item.subscription == Some(subscription.id) && item.end == end
        };
        let repaired =
            self.invoices.iter().flat_map(|invoice| &invoice.items).rfind(of_period).map(|item| item.id);
        for item in items.iter_mut().filter(|item| item.kind == "REPAIR_ADJ") {
            item.linked = repaired;
        }
        if let Some(plan) = to {
            subscription.plan = plan;
        }
        if !subscription.in_trial && end > now && !items.is_empty() {
            self.invoice(account, now, items);
        }
    }

    /// Everything that is due until `now`.
    pub fn advance(&mut self, now: OffsetDateTime) {
        for index in 0..self.subscriptions.len() {
            while let Some(due) = self.due(index).filter(|due| *due <= now) {
                self.step(index, due);
            }
        }
    }

    fn due(&self, index: usize) -> Option<OffsetDateTime> {
        let subscription = self.subscriptions.get(index).filter(|subscription| !subscription.over)?;
        let charge = (!subscription.in_trial).then_some(subscription.charged);
        let phase = subscription.trial_end.filter(|_| subscription.in_trial);
        [subscription.cancelled, phase, charge].into_iter().flatten().min()
    }

    fn step(&mut self, index: usize, due: OffsetDateTime) {
        let Some(subscription) = self.subscriptions.get_mut(index) else { return };
        if subscription.cancelled == Some(due) {
            subscription.over = true;
            let ended = subscription.clone();
            self.twins("SUBSCRIPTION_CANCEL", &ended);
            return;
        }
        if let Some((plan, _)) = subscription.pending.take_if(|(_, at)| *at <= due) {
            subscription.plan = plan;
        }
        if subscription.in_trial {
            subscription.in_trial = false;
            subscription.anchor = due.day();
            let (account, id) = (subscription.account, subscription.id);
            self.hook(
                "SUBSCRIPTION_PHASE",
                account,
                "SUBSCRIPTION",
                id,
                Some(json!({"actionType": "EFFECTIVE"})),
            );
        }
        self.charge(index, due);
    }
}

/// What can still be taken back of an item.
pub(super) fn left_of(invoices: &[Invoice], item: &Item) -> i64 {
    let linked =
        invoices.iter().flat_map(|invoice| &invoice.items).filter(|other| other.linked == Some(item.id));
    item.cents + linked.map(|other| other.cents).sum::<i64>()
}

/// What a change now would put on an invoice.
pub(super) fn repair_items(subscription: &Subscription, now: OffsetDateTime, to: Option<&Plan>) -> Vec<Item> {
    let end = subscription.charged;
    if subscription.in_trial || end <= now {
        return Vec::new();
    }
    let start = add_months(end, -subscription.plan.months(), subscription.anchor);
    let (whole, rest) = ((end.date() - start.date()).whole_days(), (end.date() - now.date()).whole_days());
    let part = |cents: i64| (2 * cents * rest + whole) / (2 * whole);
    let item = |kind, description: &str, cents| Item {
        id: Uuid::new_v4(),
        kind,
        subscription: Some(subscription.id),
        description: description.to_owned(),
        start: now,
        end,
        cents,
        linked: None,
    };
    let mut items =
        vec![item("REPAIR_ADJ", "Adjustment (subscription change)", -part(subscription.plan.cents))];
    items.extend(to.map(|plan| item("RECURRING", &format!("{}-evergreen", plan.name), part(plan.cents))));
    items
}

pub(super) fn adjustment(kind: &'static str, description: &str, now: OffsetDateTime, cents: i64) -> Item {
    Item {
        id: Uuid::new_v4(),
        kind,
        subscription: None,
        description: description.to_owned(),
        start: now,
        end: now,
        cents,
        linked: None,
    }
}

pub(super) fn add_months(at: OffsetDateTime, months: i32, anchor: u8) -> OffsetDateTime {
    let index = at.year() * 12 + i32::from(u8::from(at.month())) - 1 + months;
    let month = u8::try_from(index.rem_euclid(12) + 1).ok().and_then(|month| Month::try_from(month).ok());
    let (year, month) = (index.div_euclid(12), month.unwrap_or(Month::January));
    let day = anchor.min(month.length(year));
    Date::from_calendar_date(year, month, day).map_or(at, |date| at.replace_date(date))
}

/// `9.67`
pub(super) fn decimal(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

/// The form of dates of subscriptions differs between the lines.
pub(super) fn when(line: Line, at: OffsetDateTime) -> String {
    match line {
        Line::V22 => day(at),
        Line::V24 => format!("{}T{:02}:{:02}:{:02}.000Z", day(at), at.hour(), at.minute(), at.second()),
    }
}

pub(super) fn day(at: OffsetDateTime) -> String {
    at.date().to_string()
}

pub(super) fn days(count: i64) -> Duration {
    Duration::days(count)
}
