//! Doubles of billing-service and database-service: real gRPC servers that count their calls.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use contracts::billing::v1 as billing;
use contracts::billing::v1::order_service_server::{OrderService, OrderServiceServer};
use contracts::database::v1 as database;
use contracts::database::v1::allocation_service_server::{AllocationService, AllocationServiceServer};
use contracts::database::v1::credential_service_server::{CredentialService, CredentialServiceServer};
use contracts::database::v1::move_service_server::{MoveService, MoveServiceServer};
use contracts::database::v1::pool_work_service_server::{PoolWorkService, PoolWorkServiceServer};
use contracts::services;
use instance_worker::peers::Peers;
use runtime::grpc::{Allow, MethodPolicy, Needs, Refusal};
use test_kit::grpc::serve;
use test_kit::identity::Keyring;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use uuid::Uuid;

const WORKER: &[Allow] = &[Allow { caller: services::WORKER, needs: Needs::Nothing }];
const fn by_worker(method: &'static str) -> MethodPolicy {
    MethodPolicy { method, allow: WORKER }
}
static BILLING: &[MethodPolicy] = &[by_worker("/saasodoo.billing.v1.OrderService/GetEntitlement")];
static DATABASE: &[MethodPolicy] = &[
    by_worker("/saasodoo.database.v1.AllocationService/Allocate"),
    by_worker("/saasodoo.database.v1.AllocationService/GetCredentials"),
    by_worker("/saasodoo.database.v1.AllocationService/Release"),
    by_worker("/saasodoo.database.v1.AllocationService/Reclaim"),
    by_worker("/saasodoo.database.v1.CredentialService/BeginRotation"),
    by_worker("/saasodoo.database.v1.CredentialService/SwitchRotation"),
    by_worker("/saasodoo.database.v1.CredentialService/RetireRotation"),
    by_worker("/saasodoo.database.v1.CredentialService/AbortRotation"),
    by_worker("/saasodoo.database.v1.MoveService/ReserveMove"),
    by_worker("/saasodoo.database.v1.MoveService/BeginCopy"),
    by_worker("/saasodoo.database.v1.MoveService/CompareCopy"),
    by_worker("/saasodoo.database.v1.MoveService/SyncCopy"),
    by_worker("/saasodoo.database.v1.MoveService/VerifyCopy"),
    by_worker("/saasodoo.database.v1.MoveService/SwitchMove"),
    by_worker("/saasodoo.database.v1.MoveService/AbortMove"),
    by_worker("/saasodoo.database.v1.MoveService/FinishMove"),
    by_worker("/saasodoo.database.v1.PoolWorkService/ListPoolSpecs"),
    by_worker("/saasodoo.database.v1.PoolWorkService/GetPoolSecret"),
    by_worker("/saasodoo.database.v1.PoolWorkService/ReportPool"),
    by_worker("/saasodoo.database.v1.PoolWorkService/ReportClusterContact"),
];

/// Where tenants' databases are in this test.
pub const SERVER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00d1);

/// Where moved ones are.
pub const TARGET: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00d2);

/// A move, as database-service has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Whose.
    pub instance: String,
    /// reserved, copying, verified, switched, aborted.
    pub state: &'static str,
    /// How long the instance was off, once the worker told.
    pub off: Option<u32>,
    /// Copies that were begun.
    pub copies: usize,
}

/// What the doubles know and were asked.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of a test")]
pub struct Known {
    /// Why no subscription may run.
    pub refusal: Option<String>,
    /// Answers `unavailable` so many times more.
    pub unavailable: usize,
    /// No server has room.
    pub no_room: bool,
    /// Instances with a database.
    pub allocated: BTreeSet<String>,
    /// Softly released.
    pub released: BTreeSet<String>,
    /// Dropped.
    pub purged: Vec<String>,
    /// Pools that are wanted.
    pub pools: Vec<database::PoolSpec>,
    /// Moves by id.
    pub moves: HashMap<String, Move>,
    /// Copies differ from their sources.
    pub copies_differ: bool,
    /// The comparison beside the work goes on.
    pub comparing: bool,
    /// What was copied beside the work is of no use.
    pub all_changed: bool,
    /// Instances whose database is on [`TARGET`].
    pub moved: BTreeSet<String>,
    /// Reports by pool.
    pub reports: HashMap<String, Vec<database::ReportPoolRequest>>,
    /// Calls by method.
    pub calls: HashMap<&'static str, usize>,
    /// Reports of contact.
    pub contacts: usize,
    /// Rotations by their id: the instance, and the last word about them.
    pub rotations: HashMap<String, (String, &'static str)>,
    /// Why no password can be changed.
    pub no_rotation: bool,
}

/// The doubles.
#[derive(Debug, Clone, Default)]
pub struct Doubles {
    known: Arc<Mutex<Known>>,
}

impl Doubles {
    /// Starts both servers; clients for the worker.
    pub async fn start(&self) -> Peers {
        let keys = Keyring::new();
        let billing = Routes::new(OrderServiceServer::new(self.clone()));
        let database = Routes::new(AllocationServiceServer::new(self.clone()))
            .add_service(CredentialServiceServer::new(self.clone()))
            .add_service(PoolWorkServiceServer::new(self.clone()))
            .add_service(MoveServiceServer::new(self.clone()));
        let billing = serve(services::BILLING, BILLING, &keys, billing).await;
        let database = serve(services::DATABASE, DATABASE, &keys, database).await;
        Peers::over(billing.channel_as(services::WORKER), database.channel_as(services::WORKER))
    }

    /// Looks at or changes what they know.
    pub fn with<R>(&self, change: impl FnOnce(&mut Known) -> R) -> R {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn called(&self, method: &'static str) -> Result<(), Status> {
        self.with(|known| {
            *known.calls.entry(method).or_default() += 1;
            if known.unavailable > 0 {
                known.unavailable -= 1;
                return Err(Status::unavailable("away"));
            }
            Ok(())
        })
    }
}

fn allocation(instance: &str) -> database::Allocation {
    let id = instance.replace('-', "");
    database::Allocation {
        id: instance.to_owned(),
        instance_id: instance.to_owned(),
        db_server_id: SERVER.to_string(),
        db_server_name: "postgres-pool-1".into(),
        db_host: "127.0.0.1".into(),
        db_port: 5432,
        db_name: format!("odoo_test_{id}"),
        db_user: format!("odoo_test_{id}"),
        db_type: "shared".into(),
        state: "allocated".into(),
        ..database::Allocation::default()
    }
}

impl Doubles {
    /// Where the database of an instance is.
    fn allocation(&self, instance: &str) -> database::Allocation {
        let found = allocation(instance);
        if !self.with(|known| known.moved.contains(instance)) {
            return found;
        }
        database::Allocation {
            db_server_id: TARGET.to_string(),
            db_server_name: "postgres-pool-2".into(),
            db_host: "127.0.0.2".into(),
            ..found
        }
    }

    /// Moves on, when it is in one of these states.
    fn advance(&self, id: &str, from: &[&str], to: &'static str) -> Result<String, Status> {
        self.with(|known| {
            let found = known.moves.get_mut(id).ok_or_else(|| Status::from(Refusal::not_found("move")))?;
            if !from.contains(&found.state) && found.state != to {
                let refusal = Refusal::new(tonic::Code::FailedPrecondition, "invalid_state", found.state);
                return Err(refusal.into());
            }
            found.state = to;
            Ok(found.instance.clone())
        })
    }
}

#[tonic::async_trait]
impl MoveService for Doubles {
    async fn reserve_move(
        &self,
        request: Request<database::ReserveMoveRequest>,
    ) -> Result<Response<database::ReserveMoveResponse>, Status> {
        self.called("ReserveMove")?;
        let request = request.into_inner();
        self.with(|known| {
            let new = Move { instance: request.instance_id, state: "reserved", off: None, copies: 0 };
            known.moves.entry(request.move_id).or_insert(new);
        });
        Ok(Response::new(database::ReserveMoveResponse {
            status: "reserved".into(),
            source_pool: "postgres-pool-1".into(),
            target_pool: "postgres-pool-2".into(),
            ..database::ReserveMoveResponse::default()
        }))
    }
    async fn begin_copy(
        &self,
        request: Request<database::BeginCopyRequest>,
    ) -> Result<Response<database::BeginCopyResponse>, Status> {
        self.called("BeginCopy")?;
        let id = request.into_inner().move_id;
        let instance = self.advance(&id, &["reserved", "copying", "verified"], "copying")?;
        self.with(|known| {
            if let Some(found) = known.moves.get_mut(&id) {
                found.copies += 1;
            }
        });
        let end = |pool: Uuid, host: &str| database::CopyEnd {
            pool_id: pool.to_string(),
            host: host.into(),
            port: 5432,
            database: format!("odoo_{instance}"),
            user: format!("odoo_{instance}"),
            password: format!("password-at-{host}"),
        };
        Ok(Response::new(database::BeginCopyResponse {
            source: Some(end(SERVER, "127.0.0.1")),
            target: Some(end(TARGET, "127.0.0.2")),
            image: "simulated/database:15".into(),
            ca_certificates: String::new(),
        }))
    }
    async fn compare_copy(
        &self,
        request: Request<database::CompareCopyRequest>,
    ) -> Result<Response<database::CompareCopyResponse>, Status> {
        self.called("CompareCopy")?;
        self.advance(&request.into_inner().move_id, &[], "copying")?;
        let status = if self.with(|known| known.comparing) { "running" } else { "compared" };
        Ok(Response::new(database::CompareCopyResponse { status: status.into() }))
    }
    async fn sync_copy(
        &self,
        request: Request<database::SyncCopyRequest>,
    ) -> Result<Response<database::SyncCopyResponse>, Status> {
        self.called("SyncCopy")?;
        let id = request.into_inner().move_id;
        self.advance(&id, &[], "copying")?;
        let again = self.with(|known| {
            let found = known.moves.get(&id);
            known.all_changed && found.is_some_and(|found| found.copies < 2)
        });
        let status = if again { "copy_again" } else { "synced" };
        Ok(Response::new(database::SyncCopyResponse { status: status.into() }))
    }
    async fn verify_copy(
        &self,
        request: Request<database::VerifyCopyRequest>,
    ) -> Result<Response<database::VerifyCopyResponse>, Status> {
        self.called("VerifyCopy")?;
        if self.with(|known| known.copies_differ) {
            let refusal = Refusal::new(tonic::Code::FailedPrecondition, "copy_differs", "table t");
            return Err(refusal.into());
        }
        self.advance(&request.into_inner().move_id, &["copying", "switched"], "verified")?;
        Ok(Response::new(database::VerifyCopyResponse { status: "verified".into() }))
    }
    async fn switch_move(
        &self,
        request: Request<database::SwitchMoveRequest>,
    ) -> Result<Response<database::SwitchMoveResponse>, Status> {
        self.called("SwitchMove")?;
        let instance = self.advance(&request.into_inner().move_id, &["verified"], "switched")?;
        self.with(|known| known.moved.insert(instance.clone()));
        Ok(Response::new(database::SwitchMoveResponse {
            allocation: Some(self.allocation(&instance)),
            source_kept_until: None,
        }))
    }
    async fn abort_move(
        &self,
        request: Request<database::AbortMoveRequest>,
    ) -> Result<Response<database::AbortMoveResponse>, Status> {
        self.called("AbortMove")?;
        let id = request.into_inner().move_id;
        self.advance(&id, &["reserved", "copying", "verified"], "aborted")?;
        Ok(Response::new(database::AbortMoveResponse { status: "aborted".into() }))
    }
    async fn finish_move(
        &self,
        request: Request<database::FinishMoveRequest>,
    ) -> Result<Response<database::FinishMoveResponse>, Status> {
        let database::FinishMoveRequest { move_id, off_seconds } = request.into_inner();
        self.with(|known| {
            if let Some(found) = known.moves.get_mut(&move_id) {
                found.off = Some(off_seconds);
            }
        });
        Ok(Response::new(database::FinishMoveResponse {}))
    }
}

#[tonic::async_trait]
impl OrderService for Doubles {
    async fn place_order(
        &self,
        _: Request<billing::PlaceOrderRequest>,
    ) -> Result<Response<billing::PlaceOrderResponse>, Status> {
        Err(Status::unimplemented("not the worker's"))
    }
    async fn reactivate_order(
        &self,
        request: Request<billing::PlaceOrderRequest>,
    ) -> Result<Response<billing::PlaceOrderResponse>, Status> {
        self.place_order(request).await
    }

    async fn cancel_order(
        &self,
        _: Request<billing::CancelOrderRequest>,
    ) -> Result<Response<billing::CancelOrderResponse>, Status> {
        Err(Status::unimplemented("not the worker's"))
    }
    async fn get_entitlement(
        &self,
        _: Request<billing::GetEntitlementRequest>,
    ) -> Result<Response<billing::GetEntitlementResponse>, Status> {
        self.called("GetEntitlement")?;
        let refusal = self.with(|known| known.refusal.clone());
        Ok(Response::new(billing::GetEntitlementResponse {
            may_run: refusal.is_none(),
            reason: refusal.unwrap_or_default(),
            ..billing::GetEntitlementResponse::default()
        }))
    }

    async fn get_entitlements(
        &self,
        _: Request<billing::GetEntitlementsRequest>,
    ) -> Result<Response<billing::GetEntitlementsResponse>, Status> {
        Err(Status::unimplemented("workers ask for one subscription"))
    }
}

#[tonic::async_trait]
impl AllocationService for Doubles {
    async fn allocate(
        &self,
        request: Request<database::AllocateRequest>,
    ) -> Result<Response<database::AllocateResponse>, Status> {
        self.called("Allocate")?;
        let id = request.into_inner().instance_id;
        let room = self.with(|known| {
            if !known.no_room {
                known.allocated.insert(id.clone());
            }
            !known.no_room
        });
        Ok(Response::new(database::AllocateResponse {
            status: if room { "allocated" } else { "provisioning" }.into(),
            allocation: room.then(|| self.allocation(&id)),
            retry_after_seconds: 10,
        }))
    }
    async fn get_credentials(
        &self,
        request: Request<database::GetCredentialsRequest>,
    ) -> Result<Response<database::GetCredentialsResponse>, Status> {
        self.called("GetCredentials")?;
        let id = request.into_inner().instance_id;
        if !self.with(|known| known.allocated.contains(&id)) {
            return Err(Refusal::not_found("allocation").into());
        }
        let changed = self.with(|known| {
            let mut rotations = known.rotations.values();
            rotations.any(|(instance, word)| *instance == id && matches!(*word, "switched" | "retired"))
        });
        Ok(Response::new(database::GetCredentialsResponse {
            allocation: Some(self.allocation(&id)),
            password: if changed { format!("new-password-of-{id}") } else { format!("password-of-{id}") },
        }))
    }
    async fn release(
        &self,
        request: Request<database::ReleaseRequest>,
    ) -> Result<Response<database::ReleaseResponse>, Status> {
        self.called("Release")?;
        let request = request.into_inner();
        self.with(|known| {
            known.allocated.remove(&request.instance_id);
            if request.mode == "purge" {
                known.released.remove(&request.instance_id);
                known.purged.push(request.instance_id.clone());
            } else {
                known.released.insert(request.instance_id.clone());
            }
        });
        Ok(Response::new(database::ReleaseResponse::default()))
    }
    async fn reclaim(
        &self,
        request: Request<database::ReclaimRequest>,
    ) -> Result<Response<database::ReclaimResponse>, Status> {
        self.called("Reclaim")?;
        let id = request.into_inner().instance_id;
        let back = self.with(|known| {
            let back = known.released.remove(&id);
            known.allocated.insert(id.clone());
            back
        });
        if !back {
            return Err(Refusal::not_found("allocation").into());
        }
        Ok(Response::new(database::ReclaimResponse { allocation: Some(self.allocation(&id)) }))
    }
}

impl Doubles {
    /// A rotation takes a step; gives its instance.
    fn rotation(&self, id: &str, from: &[&str], to: &'static str) -> Result<String, Status> {
        self.with(|known| {
            let Some((instance, word)) = known.rotations.get_mut(id) else {
                return Err(Refusal::not_found("rotation").into());
            };
            if *word != to && !from.contains(word) {
                return Err(Status::failed_precondition(format!("it is {word}")));
            }
            *word = to;
            Ok(instance.clone())
        })
    }
}

#[tonic::async_trait]
impl CredentialService for Doubles {
    async fn begin_rotation(
        &self,
        request: Request<database::BeginRotationRequest>,
    ) -> Result<Response<database::BeginRotationResponse>, Status> {
        self.called("BeginRotation")?;
        let request = request.into_inner();
        if self.with(|known| known.no_rotation) {
            return Err(Status::failed_precondition("not now"));
        }
        self.with(|known| {
            known.rotations.entry(request.rotation_id).or_insert((request.instance_id, "ready"));
        });
        Ok(Response::new(database::BeginRotationResponse {}))
    }
    async fn switch_rotation(
        &self,
        request: Request<database::SwitchRotationRequest>,
    ) -> Result<Response<database::SwitchRotationResponse>, Status> {
        self.called("SwitchRotation")?;
        let id = self.rotation(&request.into_inner().rotation_id, &["ready"], "switched")?;
        Ok(Response::new(database::SwitchRotationResponse { allocation: Some(allocation(&id)) }))
    }
    async fn retire_rotation(
        &self,
        request: Request<database::RetireRotationRequest>,
    ) -> Result<Response<database::RetireRotationResponse>, Status> {
        self.called("RetireRotation")?;
        self.rotation(&request.into_inner().rotation_id, &["switched"], "retired")?;
        Ok(Response::new(database::RetireRotationResponse {}))
    }
    async fn abort_rotation(
        &self,
        request: Request<database::AbortRotationRequest>,
    ) -> Result<Response<database::AbortRotationResponse>, Status> {
        self.called("AbortRotation")?;
        let status = match self.rotation(&request.into_inner().rotation_id, &["ready"], "aborted") {
            Ok(_) => "aborted",
            Err(_) => "absent",
        };
        Ok(Response::new(database::AbortRotationResponse { status: status.into() }))
    }
}

#[tonic::async_trait]
impl PoolWorkService for Doubles {
    async fn list_pool_specs(
        &self,
        _: Request<database::ListPoolSpecsRequest>,
    ) -> Result<Response<database::ListPoolSpecsResponse>, Status> {
        self.called("ListPoolSpecs")?;
        Ok(Response::new(database::ListPoolSpecsResponse { pools: self.with(|known| known.pools.clone()) }))
    }
    async fn get_pool_secret(
        &self,
        _: Request<database::GetPoolSecretRequest>,
    ) -> Result<Response<database::GetPoolSecretResponse>, Status> {
        self.called("GetPoolSecret")?;
        Ok(Response::new(database::GetPoolSecretResponse {
            admin_user: "pool_admin".into(),
            admin_password: "a-generated-pool-password".into(),
            secret_hash: "hash-1".into(),
            tls_certificate: "a certificate".into(),
            tls_private_key: "a private key".into(),
            ca_certificates: "authorities".into(),
        }))
    }
    async fn report_pool(
        &self,
        request: Request<database::ReportPoolRequest>,
    ) -> Result<Response<database::ReportPoolResponse>, Status> {
        let report = request.into_inner();
        self.with(|known| known.reports.entry(report.pool_id.clone()).or_default().push(report));
        Ok(Response::new(database::ReportPoolResponse::default()))
    }
    async fn report_cluster_contact(
        &self,
        _: Request<database::ReportClusterContactRequest>,
    ) -> Result<Response<database::ReportClusterContactResponse>, Status> {
        self.with(|known| known.contacts += 1);
        Ok(Response::new(database::ReportClusterContactResponse {}))
    }
}
