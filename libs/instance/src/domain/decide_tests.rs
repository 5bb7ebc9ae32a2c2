//! Tests of the decisions: examples of the requirements, and random histories that must keep the invariants
//! (INS-30).

use proptest::prelude::*;

use super::*;
use crate::domain::{BillingStatus, Limits, Observed, ProvisioningStatus, desired_after_cancel};

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

pub(in crate::domain) fn instance(status: Status, desired_state: DesiredState) -> Instance {
    Instance {
        id: Uuid::nil(),
        customer_id: Uuid::nil(),
        subscription_id: None,
        plan: "basic-monthly".into(),
        plan_tier: "basic".into(),
        db_tier: "starter".into(),
        name: "shop".into(),
        description: String::new(),
        odoo_version: "17".into(),
        instance_type: "production".into(),
        status,
        desired_state,
        desired_before_suspend: None,
        holds: Holds::default(),
        suspended_reason: None,
        billing_status: BillingStatus::Trial,
        provisioning_status: ProvisioningStatus::Completed,
        generation: 2,
        observed_generation: 2,
        observed: Observed {
            phase: "running".into(),
            ready: true,
            restarts: 0,
            reason: String::new(),
            node: String::new(),
            pod_ip: String::new(),
            started_at: None,
            at: None,
        },
        limits: Limits { cpu_millis: 1000, memory_mib: 2048, storage_mib: 10240 },
        subdomain: "shop".into(),
        admin_email: "a@b.cd".into(),
        demo_data: false,
        display_database_name: String::new(),
        db_type: "shared".into(),
        database: None,
        deployment_name: String::new(),
        service_name: String::new(),
        internal_url: String::new(),
        external_url: String::new(),
        error: None,
        restarted_at: None,
        purge_after: None,
        last_health_check: None,
        labels: std::collections::BTreeMap::new(),
        credentials_until: NOW,
        credentials_revealed_at: None,
        version: 1,
        created_at: NOW,
        updated_at: NOW,
        started_at: None,
    }
}

fn ask(action: Action, actor: ActorKind) -> Ask {
    Ask { action, actor, force: false }
}

fn running() -> Instance {
    instance(Status::Running, DesiredState::Running)
}

#[expect(clippy::unnecessary_wraps, reason = "the form that `decide` takes")]
fn active(kind: OperationKind) -> Option<Active> {
    Some(Active { id: Uuid::from_u128(9), kind })
}

fn change(outcome: Result<Decision, Refused>) -> Change {
    match outcome {
        Ok(Decision::Begin(change)) => change,
        other => panic!("no operation begins: {other:?}"),
    }
}

/// INS-19
#[test]
fn repeating_a_reached_state_changes_nothing() {
    let stopped = instance(Status::Stopped, DesiredState::Stopped);
    let by = ActorKind::Customer;
    assert_eq!(decide(&stopped, None, ask(Action::Stop, by), NOW), Ok(Decision::Already(None)));
    assert_eq!(decide(&running(), None, ask(Action::Start, by), NOW), Ok(Decision::Already(None)));
    let stopping = instance(Status::Stopping, DesiredState::Stopped);
    let stop = active(OperationKind::Stop);
    assert_eq!(
        decide(&stopping, stop, ask(Action::Stop, by), NOW),
        Ok(Decision::Already(Some(Uuid::from_u128(9))))
    );
}

/// INS-19
#[test]
fn an_action_out_of_place_names_the_state_and_what_is_allowed() {
    let stopped = instance(Status::Stopped, DesiredState::Stopped);
    let outcome = decide(&stopped, None, ask(Action::Restart, ActorKind::Customer), NOW);
    let Err(Refused::InvalidState(status, actions)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(status, Status::Stopped);
    assert!(actions.contains(&Action::Start) && actions.contains(&Action::Terminate));
    assert!(!actions.contains(&Action::Suspend), "a customer may not suspend, so it is not offered");
    assert!(!actions.contains(&Action::Backup), "nobody would carry it out");
}

/// INS-20
#[test]
fn one_operation_at_a_time_but_terminate_ends_every_other() {
    let starting = instance(Status::Starting, DesiredState::Running);
    let create = active(OperationKind::Create);
    assert_eq!(
        decide(&starting, create, ask(Action::Stop, ActorKind::Customer), NOW),
        Err(Refused::OperationInProgress(OperationKind::Create))
    );
    let stopped = instance(Status::Stopped, DesiredState::Stopped);
    assert_eq!(
        decide(&stopped, active(OperationKind::Backup), ask(Action::Start, ActorKind::Customer), NOW),
        Err(Refused::OperationInProgress(OperationKind::Backup))
    );
    for kind in [OperationKind::Create, OperationKind::Backup, OperationKind::Stop, OperationKind::Suspend] {
        let begun = change(decide(&starting, active(kind), ask(Action::Terminate, ActorKind::Customer), NOW));
        assert_eq!((begun.status, begun.preempts), (Status::Terminating, Some(Uuid::from_u128(9))));
    }
    let begun =
        change(decide(&starting, active(OperationKind::Start), ask(Action::Stop, ActorKind::Customer), NOW));
    assert_eq!((begun.status, begun.preempts.is_some()), (Status::Stopping, true));
}

/// INS-21
#[test]
fn a_start_that_billing_holds_needs_money_before_anything_else() {
    for (status, desired) in [
        (Status::Suspended, DesiredState::Suspended),
        (Status::Stopping, DesiredState::Suspended),
        (Status::Error, DesiredState::Suspended),
    ] {
        let held = Instance { holds: Holds { billing: true, operator: false }, ..instance(status, desired) };
        let outcome =
            decide(&held, active(OperationKind::Suspend), ask(Action::Start, ActorKind::Customer), NOW);
        assert_eq!(outcome, Err(Refused::PaymentRequired), "{status}");
    }
    let unpaid = instance(Status::PendingPayment, DesiredState::Running);
    assert_eq!(
        decide(&unpaid, None, ask(Action::Start, ActorKind::Customer), NOW),
        Err(Refused::PaymentRequired)
    );
}

/// INS-24, INS-25
#[test]
fn a_suspension_remembers_where_it_came_from() {
    for (status, desired, back) in [
        (Status::Running, DesiredState::Running, Status::Starting),
        (Status::Stopped, DesiredState::Stopped, Status::Stopping),
    ] {
        let before = instance(status, desired);
        let begun = change(decide(&before, None, ask(Action::Suspend, ActorKind::Billing), NOW));
        assert_eq!((begun.status, begun.desired), (Status::Stopping, DesiredState::Suspended));
        assert_eq!((begun.desired_before_suspend, begun.holds.billing), (Some(desired), true));

        let suspended = Instance {
            status: Status::Suspended,
            desired_state: DesiredState::Suspended,
            desired_before_suspend: begun.desired_before_suspend,
            holds: begun.holds,
            ..before
        };
        let ended = change(decide(&suspended, None, ask(Action::Unsuspend, ActorKind::Billing), NOW));
        assert_eq!((ended.status, ended.desired, ended.holds), (back, desired, Holds::default()));
        assert_eq!(transition(ended.status, Event::Succeeded(ended.kind, ended.desired)), Ok(status));
    }
}

/// INS-24: an operator's hold outlives a payment, and the other way round.
#[test]
fn it_runs_again_only_when_nobody_holds_it() {
    let both = Instance {
        holds: Holds { billing: true, operator: true },
        desired_before_suspend: Some(DesiredState::Running),
        ..instance(Status::Suspended, DesiredState::Suspended)
    };
    let paid = decide(&both, None, ask(Action::Unsuspend, ActorKind::Billing), NOW);
    assert_eq!(paid, Ok(Decision::Note(Holds { billing: false, operator: true })));
    let lifted = decide(&both, None, ask(Action::Unsuspend, ActorKind::Admin), NOW);
    assert_eq!(lifted, Err(Refused::PaymentRequired));
    let forced = Ask { action: Action::Unsuspend, actor: ActorKind::Admin, force: true };
    assert_eq!(change(decide(&both, None, forced, NOW)).holds, Holds::default());
}

/// INS-24: billing's word is never lost, however busy the instance is.
#[test]
fn a_suspension_by_billing_is_noted_while_another_operation_runs() {
    let updating = instance(Status::Updating, DesiredState::Running);
    let outcome = decide(
        &updating,
        active(OperationKind::ApplyResources),
        ask(Action::Suspend, ActorKind::Billing),
        NOW,
    );
    assert_eq!(outcome, Ok(Decision::Note(Holds { billing: true, operator: false })));
    let admin =
        decide(&updating, active(OperationKind::ApplyResources), ask(Action::Suspend, ActorKind::Admin), NOW);
    assert!(matches!(admin, Err(Refused::InvalidState(Status::Updating, _))), "{admin:?}");
}

/// INS-25, INS-27
#[test]
fn customers_neither_suspend_nor_unsuspend_nor_undelete() {
    for action in
        [Action::Suspend, Action::Unsuspend, Action::Undelete, Action::Purge, Action::ApplyResources]
    {
        for actor in [ActorKind::Customer, ActorKind::Operator] {
            assert_eq!(
                decide(&running(), None, ask(action, actor), NOW),
                Err(Refused::Forbidden),
                "{action}"
            );
        }
    }
}

/// INS-26, INS-27
#[test]
fn data_goes_only_after_its_retention_and_can_come_back_before() {
    let due = NOW + time::Duration::days(30);
    let kept = Instance { purge_after: Some(due), ..instance(Status::Terminated, DesiredState::Terminated) };
    let purge = ask(Action::Purge, ActorKind::Platform);
    assert!(matches!(decide(&kept, None, purge, NOW), Err(Refused::InvalidState(..))));
    assert_eq!(change(decide(&kept, None, purge, due)).kind, OperationKind::Purge);
    let undelete = change(decide(&kept, None, ask(Action::Undelete, ActorKind::Admin), NOW));
    assert_eq!((undelete.status, undelete.desired), (Status::Creating, DesiredState::Running));
    let gone = Instance { purge_after: Some(due), ..instance(Status::Purged, DesiredState::Terminated) };
    assert_eq!(decide(&gone, None, ask(Action::Undelete, ActorKind::Admin), NOW), Err(Refused::Purged));
}

/// BIL-13
#[test]
fn a_payment_begins_the_provisioning_of_an_order_that_waited() {
    let waiting = Instance {
        provisioning_status: ProvisioningStatus::Pending,
        ..instance(Status::PendingPayment, DesiredState::Running)
    };
    let begun = change(decide(&waiting, None, ask(Action::Unsuspend, ActorKind::Billing), NOW));
    assert_eq!((begun.kind, begun.status), (OperationKind::Create, Status::Creating));
}

/// INS-38
#[test]
fn a_retry_repeats_what_failed() {
    let broken = instance(Status::Error, DesiredState::Running);
    let kind =
        |instance: &Instance, last| change(decide_retry(instance, None, last, ActorKind::Operator)).kind;
    assert_eq!(kind(&broken, Some(OperationKind::Stop)), OperationKind::Stop);
    assert_eq!(kind(&broken, None), OperationKind::Restart);
    let unmade = Instance { provisioning_status: ProvisioningStatus::Failed, ..broken.clone() };
    assert_eq!(kind(&unmade, Some(OperationKind::Create)), OperationKind::Create);
    assert_eq!(
        change(decide(&unmade, None, ask(Action::Start, ActorKind::Customer), NOW)).kind,
        OperationKind::Create
    );
    assert_eq!(
        decide_retry(&running(), None, None, ActorKind::Operator),
        Err(Refused::NothingToRetry(Status::Running))
    );
    assert_eq!(decide_retry(&broken, None, None, ActorKind::Customer), Err(Refused::Forbidden));
}

#[derive(Debug, Clone, Copy)]
enum Happening {
    Asked(Ask),
    Retried,
    Ended(End),
    Ready,
    Crashed,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Succeeded,
    Failed,
    Cancelled,
}

const ACTORS: [ActorKind; 6] = [
    ActorKind::Customer,
    ActorKind::Operator,
    ActorKind::Admin,
    ActorKind::Billing,
    ActorKind::Accounts,
    ActorKind::Platform,
];

fn happening() -> impl Strategy<Value = Happening> {
    let asked = (0..Action::ALL.len(), 0..ACTORS.len(), any::<bool>()).prop_map(|(action, actor, force)| {
        Happening::Asked(Ask { action: Action::ALL[action], actor: ACTORS[actor], force })
    });
    prop_oneof![
        6 => asked,
        1 => Just(Happening::Retried),
        3 => Just(Happening::Ended(End::Succeeded)),
        1 => Just(Happening::Ended(End::Failed)),
        1 => Just(Happening::Ended(End::Cancelled)),
        1 => Just(Happening::Ready),
        1 => Just(Happening::Crashed),
    ]
}

/// What service and worker do with the pure functions, without the database.
struct World {
    instance: Instance,
    active: Option<Active>,
    last_failed: Option<OperationKind>,
    next: u128,
}

impl World {
    fn apply(&mut self, decision: &Decision) {
        match decision {
            Decision::Already(_) => {}
            Decision::Note(holds) => self.instance.holds = *holds,
            Decision::Begin(change) => {
                assert_eq!(
                    change.preempts,
                    self.active.map(|active| active.id),
                    "only a pre-empted operation may be active"
                );
                assert!(self.active.is_none_or(|active| active.kind.yields_to(change.kind)));
                self.instance.status = change.status;
                self.instance.desired_state = change.desired;
                self.instance.desired_before_suspend = change.desired_before_suspend;
                self.instance.holds = change.holds;
                self.instance.generation += 1;
                self.next += 1;
                self.active = Some(Active { id: Uuid::from_u128(self.next), kind: change.kind });
                if change.kind == OperationKind::Terminate {
                    self.instance.purge_after = Some(NOW);
                }
            }
        }
    }

    fn end(&mut self, end: End) {
        let Some(Active { kind, .. }) = self.active else { return };
        let event = match end {
            End::Succeeded => Event::Succeeded(kind, self.instance.desired_state),
            End::Failed => Event::Failed(kind),
            End::Cancelled if kind.cancellable_when_running() => Event::Cancelled(kind),
            End::Cancelled => return,
        };
        let next = transition(self.instance.status, event);
        self.instance.status = next.expect("an active operation can always end");
        if matches!(event, Event::Cancelled(_)) {
            self.instance.desired_state = desired_after_cancel(kind, self.instance.desired_state);
        }
        if matches!(event, Event::Succeeded(OperationKind::Create, _)) {
            self.instance.provisioning_status = ProvisioningStatus::Completed;
        }
        self.last_failed = (!matches!(event, Event::Succeeded(..))).then_some(kind);
        self.instance.observed_generation = self.instance.generation;
        self.active = None;
    }

    fn watch(&mut self, event: Event) {
        let wanted = self.instance.desired_state == DesiredState::Running && self.instance.is_provisioned();
        if self.active.is_none()
            && wanted
            && let Ok(status) = transition(self.instance.status, event)
        {
            self.instance.status = status;
        }
    }

    fn step(&mut self, happening: Happening) {
        let before = self.instance.clone();
        match happening {
            Happening::Asked(ask) => {
                if let Ok(decision) = decide(&self.instance, self.active, ask, NOW) {
                    if let (Decision::Begin(change), ActorKind::Customer) = (&decision, ask.actor) {
                        let makes_run = change.desired == DesiredState::Running;
                        assert!(
                            !(makes_run && before.holds.any()),
                            "a held instance was started by its owner"
                        );
                    }
                    self.apply(&decision);
                }
            }
            Happening::Retried => {
                let outcome =
                    decide_retry(&self.instance, self.active, self.last_failed, ActorKind::Operator);
                if let Ok(decision) = outcome {
                    self.apply(&decision);
                }
            }
            Happening::Ended(end) => self.end(end),
            Happening::Ready => self.watch(Event::BecameReady),
            Happening::Crashed => self.watch(Event::Crashed),
        }
        if before.status == Status::Purged {
            assert_eq!(self.instance.status, Status::Purged, "nothing comes back from a purge");
        }
    }

    fn check(&self) {
        let Instance { status, desired_state, .. } = self.instance;
        assert!(
            !status.is_moving() || self.active.is_some(),
            "{status} without an operation would last for ever"
        );
        let fits = match status {
            Status::Running => desired_state == DesiredState::Running,
            Status::Stopped => desired_state == DesiredState::Stopped,
            Status::Suspended => desired_state == DesiredState::Suspended,
            Status::Terminating | Status::Terminated | Status::Purged => {
                desired_state == DesiredState::Terminated
            }
            _ => true,
        };
        assert!(fits, "{status} although {desired_state} is wanted");
        if status == Status::Suspended {
            assert!(self.instance.desired_before_suspend.is_some(), "nobody knows where to return to");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// INS-30: any history keeps the invariants.
    #[test]
    fn random_histories_keep_the_invariants(history in proptest::collection::vec(happening(), 1..40), unpaid in any::<bool>()) {
        let status = if unpaid { Status::PendingPayment } else { Status::Creating };
        let mut world = World {
            instance: Instance { provisioning_status: ProvisioningStatus::Pending, ..instance(status, DesiredState::Running) },
            active: if unpaid { None } else { active(OperationKind::Create) },
            last_failed: None,
            next: 100,
        };
        for happening in history {
            world.step(happening);
            world.check();
        }
    }
}
