//! What each account may and may not do (K8S-01, K8S-26), and what the admission policy looks at.

use instance_worker::objects::Name;
use instance_worker::objects::pool::{Pool, stateful_set};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, PodSpec, Secret, SecretEnvSource, SecretVolumeSource, Volume,
};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use sqlx::PgPool;
use test_kit::eventually;
use uuid::Uuid;

use crate::account;
use crate::stack::{SOON, Stack};

async fn may(stack: &Stack, account: (&str, &str), verb: &str, resource: &str, namespace: &str) -> bool {
    let (own, name) = account;
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let group = match resource {
        "deployments" | "statefulsets" => "apps",
        "ingresses" | "networkpolicies" => "networking.k8s.io",
        "jobs" => "batch",
        "leases" => "coordination.k8s.io",
        "roles" | "rolebindings" => "rbac.authorization.k8s.io",
        _ => "",
    };
    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{own}"), "system:authenticated"];
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{own}:{name}")),
            groups: Some(groups.map(str::to_owned).into()),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: Some(subresource.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(stack.client.clone());
    reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
}

/// K8S-01, K8S-26: yes and no for each account. That all of the yes are there, every other test proves: their
/// worker runs with this account.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn each_account_may_do_its_work_and_nothing_else(database: PgPool) {
    let stack = Stack::start(database).await;
    let (tenants, platform) = (stack.tenants.as_str(), stack.platform.as_str());
    let worker = (platform, "instance-worker-sa");
    for (verb, resource, namespace, expected) in [
        ("patch", "deployments", tenants, true),
        ("update", "networkpolicies", tenants, true),
        ("get", "secrets", tenants, true),
        ("create", "jobs", tenants, true),
        ("create", "pods/exec", tenants, true),
        ("list", "nodes", "", true),
        ("create", "secrets", platform, true),
        ("delete", "secrets", platform, true),
        // The answer to a change holds what the Secret held.
        ("patch", "secrets", platform, false),
        ("update", "secrets", platform, false),
        ("get", "secrets", platform, false),
        ("list", "secrets", platform, false),
        ("watch", "secrets", platform, false),
        ("create", "pods", platform, false),
        ("create", "pods/exec", platform, false),
        ("create", "jobs", platform, false),
        ("create", "deployments", platform, false),
        ("create", "roles", tenants, false),
        ("create", "rolebindings", platform, false),
        ("get", "secrets", "kube-system", false),
        ("create", "namespaces", "", false),
        ("delete", "namespaces", "", false),
        ("get", "persistentvolumes", "", false),
        ("impersonate", "serviceaccounts", platform, false),
    ] {
        let allowed = may(&stack, worker, verb, resource, namespace).await;
        assert_eq!(allowed, expected, "{verb} {resource} in {namespace}");
    }
    for account in [(platform, "instance-service-sa"), (tenants, "odoo-tenant"), (tenants, "default")] {
        for (verb, resource) in
            [("get", "secrets"), ("list", "pods"), ("create", "pods"), ("patch", "deployments")]
        {
            for namespace in [tenants, platform] {
                assert!(
                    !may(&stack, account, verb, resource, namespace).await,
                    "{account:?} {verb} {resource}"
                );
            }
        }
    }
    stack.end().await;
}

/// K8S-26, by the token of the account itself: no way to a Secret of the platform gives anything out, also not
/// one of a pool, which the worker wrote.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn the_worker_reads_no_secret_of_the_platform_by_any_way(database: PgPool) {
    let stack = Stack::start(database).await;
    let all: Api<Secret> = Api::namespaced(stack.client.clone(), &stack.platform);
    let own: Api<Secret> = Api::namespaced(stack.worker.cluster.client().unwrap(), &stack.platform);
    let mut answers = Vec::new();
    for name in ["jwt-secret", "postgres-pool-1"] {
        let mut secret = Secret {
            string_data: Some([("password".to_owned(), "planted-value".to_owned())].into()),
            ..Secret::default()
        };
        secret.metadata.name = Some(name.to_owned());
        all.create(&PostParams::default(), &secret).await.unwrap();

        let (plain, apply) = (PatchParams::default(), PatchParams::apply("x").force());
        let same = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        answers.push(own.get(name).await.map(drop));
        answers.push(own.patch(name, &plain, &Patch::Merge(serde_json::json!({}))).await.map(drop));
        answers.push(own.patch(name, &apply, &Patch::Apply(&same)).await.map(drop));
        answers.push(own.replace(name, &PostParams::default(), &secret).await.map(drop));
        let again = own.create(&PostParams::default(), &secret).await;
        assert!(matches!(&again, Err(kube::Error::Api(status)) if status.code == 409
            && !status.message.contains("planted")));
        let deleted = own.delete(name, &DeleteParams { dry_run: true, ..DeleteParams::default() }).await;
        let text = format!("{deleted:?}");
        assert!(!text.contains("planted") && !text.contains("cGxhbnRlZC12YWx1ZQ"), "{text}");
    }
    answers.push(own.list(&ListParams::default()).await.map(drop));
    answers.push(own.delete_collection(&DeleteParams::default(), &ListParams::default()).await.map(drop));
    for answer in answers {
        assert!(matches!(&answer, Err(kube::Error::Api(status)) if status.code == 403), "{answer:?}");
    }
    stack.end().await;
}

fn pool(name: &str) -> Pool {
    Pool {
        id: Uuid::now_v7(),
        name: Name::try_pool(name).unwrap(),
        image: "postgres:15-alpine".into(),
        storage: "1Gi".into(),
        cpu_request: "50m".into(),
        cpu_limit: "1".into(),
        memory_request: "64Mi".into(),
        memory_limit: "1Gi".into(),
        config: String::new(),
        admin_user: "pool_admin".into(),
        secret_hash: "h".into(),
        instance_id: None,
    }
}

/// K8S-26: the worker may write pools, and no pod of a pool can be made to read what the worker may not.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_pool_of_the_worker_is_a_database_server_and_reads_no_foreign_secret(database: PgPool) {
    let stack = Stack::start(database).await;
    let run = &Uuid::new_v4().simple().to_string()[..10];
    let file = "services/instance-worker/20-admission-policy.yaml";
    let policy = account::manifest(file, &stack.tenants, &stack.platform, run);
    account::kubectl(&["apply", "-f", "-"], &policy).await;
    let own = stack.worker.cluster.client().unwrap();
    let sets: Api<StatefulSet> = Api::namespaced(own.clone(), &stack.platform);
    let secrets: Api<Secret> = Api::namespaced(own, &stack.platform);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let settings = &stack.worker.settings;
    let good = || stateful_set(&pool("postgres-pool-9"), settings);
    eventually("the policy to be in force", SOON, || async {
        let foreign = stateful_set(&pool("something-else"), settings);
        sets.create(&dry, &foreign).await.err()
    })
    .await;

    sets.create(&dry, &good()).await.expect("a pool as the worker makes it");
    let evil = |change: fn(&mut PodSpec)| {
        let mut set = good();
        change(set.spec.as_mut().unwrap().template.spec.as_mut().unwrap());
        Box::new(set)
    };
    for (what, set) in [
        ("an account", evil(|pod| pod.service_account_name = Some("instance-worker-sa".into()))),
        ("a token", evil(|pod| pod.automount_service_account_token = None)),
        ("another image", evil(|pod| pod.containers[0].image = Some("alpine:3".into()))),
        ("another command", evil(|pod| pod.containers[0].command = Some(vec!["sh".into()]))),
        ("another container", evil(|pod| pod.containers.push(evil_container(pod)))),
        ("a container before", evil(|pod| pod.init_containers = Some(vec![evil_container(pod)]))),
        ("the host", evil(|pod| pod.host_network = Some(true))),
        (
            "a whole Secret",
            evil(|pod| {
                let source = SecretEnvSource { name: "jwt-secret-key".into(), ..SecretEnvSource::default() };
                let from = EnvFromSource { secret_ref: Some(source), ..EnvFromSource::default() };
                pod.containers[0].env_from = Some(vec![from]);
            }),
        ),
        (
            "a key of a foreign Secret",
            evil(|pod| {
                let all = pod.containers[0].env.as_mut().unwrap();
                let secret = all.iter_mut().find_map(|env| env.value_from.as_mut()?.secret_key_ref.as_mut());
                secret.unwrap().name = "jwt-secret-key".into();
            }),
        ),
        (
            "a foreign Secret as files",
            evil(|pod| {
                let secret = SecretVolumeSource {
                    secret_name: Some("jwt-secret-key".into()),
                    ..SecretVolumeSource::default()
                };
                let volume = Volume { name: "x".into(), secret: Some(secret), ..Volume::default() };
                pod.volumes.as_mut().unwrap().push(volume);
            }),
        ),
    ] {
        let answer = sets.create(&dry, &set).await;
        let refused = matches!(&answer, Err(kube::Error::Api(status)) if status.code == 403);
        assert!(refused, "{what}: {answer:?}");
    }
    let mut token = Secret { type_: Some("kubernetes.io/service-account-token".into()), ..Secret::default() };
    token.metadata.name = Some("postgres-pool-9".into());
    let account = "kubernetes.io/service-account.name".to_owned();
    token.metadata.annotations = Some([(account, "instance-service-sa".to_owned())].into());
    assert!(secrets.create(&dry, &token).await.is_err(), "a Secret that the cluster fills with a token");
    account::kubectl(&["delete", "--ignore-not-found", "-f", "-"], &policy).await;
    stack.end().await;
}

fn evil_container(pod: &PodSpec) -> Container {
    Container {
        name: "evil".into(),
        startup_probe: None,
        readiness_probe: None,
        liveness_probe: None,
        ..pod.containers[0].clone()
    }
}
