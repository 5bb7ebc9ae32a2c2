//! credential, switch, retire of a changing password (DBS-32). database-service holds the truth of the
//! rotation under the operation's id; the worker writes the Secret and gives the workload a new pod.

use super::super::context::Context;
use super::super::step::{Failure, Outcome};

pub(super) async fn begin(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    context.worker.peers.begin_rotation(context.operation.id, context.instance.id).await?;
    Ok(Outcome::Done)
}

/// The decision is database-service's; the Secret follows it, and is written again until it does.
pub(super) async fn switch(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let allocation = context.worker.peers.switch_rotation(context.operation.id).await?;
    super::database::note(context, &allocation).await?;
    super::secret::ensure(context).await
}

pub(super) async fn retire(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    context.worker.peers.retire_rotation(context.operation.id).await?;
    Ok(Outcome::Done)
}

pub(super) async fn abort(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    context.worker.peers.abort_rotation(context.operation.id).await?;
    Ok(Outcome::Done)
}
