//! The effects. Each checks what is there already, so that running it again changes nothing; each has its
//! undo beside it.

mod billing;
mod database;
mod moving;
mod pods;
mod rotating;
mod route;
mod secret;
mod volume;
mod workload;

pub(crate) use secret::write as write_secret;
pub(crate) use volume::adapted as claim_as_it_can_be;

use instance::domain::OperationKind;

use super::context::Context;
use super::step::{Failure, Outcome};
use crate::objects::{Off, Route};

/// An effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Do {
    /// May the subscription run?
    CheckEntitlement,
    /// A database of its own.
    AllocateDatabase,
    /// The released database is live again.
    ReclaimDatabase,
    /// The database is kept until the end of the retention.
    ReleaseDatabase,
    /// The database is dropped.
    PurgeDatabase,
    /// Secret with credentials.
    WriteSecret,
    /// No Secret.
    DeleteSecret,
    /// Volume of the wanted size.
    ClaimVolume,
    /// No volume.
    DeleteVolume,
    /// Service, policy and a Deployment with one replica.
    RunWorkload,
    /// A Deployment without replicas.
    StopWorkload,
    /// As the desired state says.
    WorkloadAsDesired,
    /// No Deployment.
    DeleteDeployment,
    /// No Service.
    DeleteService,
    /// No policy.
    DeletePolicy,
    /// The host name leads where the desired state says.
    Route,
    /// The same, when there is anything to route to.
    RouteIfMade,
    /// No Ingress.
    DeleteRoute,
    /// A ready pod that answers.
    AwaitReady,
    /// The same, when the desired state is running.
    AwaitReadyIfDesired,
    /// No pod left.
    AwaitGone,
    /// A copy before the end; backups come later.
    FinalBackup,
    /// A slot on another server.
    ReserveMove,
    /// The database, copied there while the instance runs.
    CopyDatabase,
    /// Which tables are the same, before the instance is off.
    CompareCopy,
    /// What was written since.
    SyncCopy,
    /// The copy is the same.
    VerifyCopy,
    /// The copy is the database from now on; row and Secret say so.
    SwitchDatabase,
    /// A second role beside the one in use.
    BeginRotation,
    /// The second one is given out from now on; the Secret says so.
    SwitchRotation,
    /// The first one goes.
    RetireRotation,
}

/// How an effect is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// There is nothing to take back.
    Nothing,
    /// Drops a database that never held anything.
    PurgeDatabase,
    /// Releases it softly again.
    ReleaseDatabase,
    /// No Secret.
    DeleteSecret,
    /// Removes the volume unless it ever held data (K8S-19).
    DeleteFreshVolume,
    /// No Deployment, Service, policy.
    DeleteWorkload,
    /// No replica.
    ScaleDown,
    /// No Ingress.
    DeleteRoute,
    /// The host name says that it is off.
    RouteOff,
    /// No slot and no copy on the other server.
    AbortMove,
    /// No copying job, and nothing that it used.
    DeleteCopyJobs,
    /// A ready pod again, when the desired state says so.
    StartAgain,
    /// Row and Secret as database-service has it.
    SettleDatabase,
    /// No second role, unless it is the one that is given out.
    AbortRotation,
}

/// Runs an effect.
pub async fn run(effect: Do, context: &mut Context<'_>) -> Result<Outcome, Failure> {
    match effect {
        Do::CheckEntitlement => billing::check(context).await,
        Do::AllocateDatabase => database::allocate(context).await,
        Do::ReclaimDatabase => database::reclaim(context).await,
        Do::ReleaseDatabase => database::release(context, false).await,
        Do::PurgeDatabase => database::release(context, true).await,
        Do::WriteSecret => secret::ensure(context).await,
        Do::DeleteSecret => secret::delete(context).await,
        Do::ClaimVolume => volume::claim(context).await,
        Do::DeleteVolume => volume::delete(context).await,
        Do::RunWorkload => {
            if context.operation.kind == OperationKind::Start {
                route::as_desired(context).await?;
            }
            workload::apply(context, true).await
        }
        Do::StopWorkload => {
            // The page is for visitors. An Ingress that cannot be written stops no stop.
            if let Err(error) = route::before_stop(context).await {
                tracing::warn!(
                    instance.id = %context.instance.id,
                    error = ?error,
                    "visitors see no page yet"
                );
            }
            workload::apply(context, false).await
        }
        Do::WorkloadAsDesired => workload::apply(context, context.wish().running).await,
        Do::DeleteDeployment => workload::delete_deployment(context).await,
        Do::DeleteService => workload::delete_service(context).await,
        Do::DeletePolicy => workload::delete_policy(context).await,
        Do::RouteIfMade if context.instance.database.is_none() => {
            Ok(Outcome::Skipped("there is nothing to route to"))
        }
        Do::Route | Do::RouteIfMade => route::as_desired(context).await,
        Do::DeleteRoute => route::delete(context).await,
        Do::AwaitReadyIfDesired if !context.wish().running => Ok(Outcome::Skipped("the instance stays off")),
        Do::AwaitReady | Do::AwaitReadyIfDesired => pods::ready(context).await,
        Do::AwaitGone => pods::gone(context).await,
        Do::ReserveMove => moving::reserve(context).await,
        Do::CopyDatabase => moving::copy(context).await,
        Do::CompareCopy => moving::compare(context).await,
        Do::SyncCopy => moving::sync(context).await,
        Do::VerifyCopy => moving::verify(context).await,
        Do::SwitchDatabase => moving::switch(context).await,
        Do::BeginRotation => rotating::begin(context).await,
        Do::SwitchRotation => rotating::switch(context).await,
        Do::RetireRotation => rotating::retire(context).await,
        Do::FinalBackup => Ok(Outcome::Skipped("backups are not available yet")),
    }
}

/// Takes an effect back.
pub async fn undo(effect: Undo, context: &mut Context<'_>) -> Result<Outcome, Failure> {
    match effect {
        Undo::Nothing => Ok(Outcome::Done),
        Undo::PurgeDatabase => database::release(context, true).await,
        Undo::ReleaseDatabase => database::release(context, false).await,
        Undo::DeleteSecret => secret::delete(context).await,
        Undo::DeleteFreshVolume => volume::delete_fresh(context).await,
        Undo::DeleteWorkload => {
            workload::delete_deployment(context).await?;
            workload::delete_service(context).await?;
            workload::delete_policy(context).await
        }
        Undo::ScaleDown => {
            route::apply(context, Route::Page(Off::Stopped)).await?;
            workload::apply(context, false).await
        }
        Undo::DeleteRoute => route::delete(context).await,
        Undo::AbortMove => moving::abort(context).await,
        Undo::DeleteCopyJobs => moving::delete_jobs(context).await,
        Undo::StartAgain => moving::start_again(context).await,
        Undo::SettleDatabase => moving::settle(context).await,
        Undo::AbortRotation => rotating::abort(context).await,
        Undo::RouteOff => route::apply(context, Route::Page(Off::Terminated)).await,
    }
}
