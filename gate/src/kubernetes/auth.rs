//! In a cluster the API server knows everybody.
//!
//! An agent brings a token that the kubelet made for its pod and that is good for nothing but the gate (its audience). The
//! API server says which pod that is, and the agent may only speak for this pod. People and machines bring whatever token
//! they use with the API server, and may do here what they may do to the ReleaseGate there: no second list of users.
//!
//! The gate's own token, where it has one, opens everything, agents' door included: it is for clusters whose API server the
//! gate may not ask, and for those who call while it is away.
//!
//! Answers are remembered for a minute at most, under a hash of the token, in a bounded place. While the API server cannot
//! be asked, an agent that was known is let in for a while longer: it is in the middle of an outage that its reports matter.

mod cache;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use blueback_report::{Hello, Role};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;

use super::gates::{Gates, Guards};
use super::inject::AUDIENCE;
use super::types::API_GROUP;
use crate::door::{Action, Answer, Denied, Door, PodIdentity, TokenDoor};
use crate::metrics::Metrics;
use cache::{Cache, Hash};

/// How long a token is good without asking again. A pod that is gone, or a token that was called back, is good no longer.
pub const TOKEN_AGE_MAX: Duration = Duration::from_secs(60);
/// How long an agent's token is good while the API server cannot be asked.
pub const TOKEN_AGE_UNASKED_MAX: Duration = Duration::from_secs(600);
/// How long a permission, or a refusal, is good: a person who has just been granted something does not wait for long.
pub const PERMISSION_AGE_MAX: Duration = Duration::from_secs(10);
/// Answers remembered, of each kind. The oldest make room.
pub const ANSWERS_MAX: usize = 16_384;
/// Questions to the API server at once; further ones wait. A flood of bad tokens is throttled here.
const REVIEWS_AT_ONCE_MAX: usize = 16;
/// How long an answer may take: shorter than an agent's patience.
const REVIEW_MAX: Duration = Duration::from_secs(2);

/// Claims of a pod's token.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Asks the API server.
pub struct KubernetesDoor {
    client: Client,
    gates: Arc<dyn Gates>,
    own: TokenDoor,
    metrics: Arc<Metrics>,
    asking: Semaphore,
    agents: Mutex<Cache<Hash, Result<PodIdentity, Denied>>>,
    people: Mutex<Cache<Hash, Result<UserInfo, Denied>>>,
    permissions: Mutex<Cache<(Hash, Action), Result<(), Denied>>>,
}

impl KubernetesDoor {
    /// Asks through this client those who do not bring the gate's own token.
    #[must_use]
    pub fn new(client: Client, gates: Arc<dyn Gates>, own: TokenDoor, metrics: Arc<Metrics>) -> Self {
        let (agents, people, permissions) = (Cache::new(ANSWERS_MAX), Cache::new(ANSWERS_MAX), Cache::new(ANSWERS_MAX));
        Self {
            client,
            gates,
            own,
            metrics,
            asking: Semaphore::new(REVIEWS_AT_ONCE_MAX),
            agents: Mutex::new(agents),
            people: Mutex::new(people),
            permissions: Mutex::new(permissions),
        }
    }

    /// Asks one question, in time.
    async fn ask<T>(&self, question: impl Future<Output = kube::Result<T>>) -> Result<T, Denied> {
        let asked = async {
            let _place = self.asking.acquire().await;
            question.await
        };
        let answer = match tokio::time::timeout(REVIEW_MAX, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", REVIEW_MAX.as_secs()),
        };
        self.metrics.kubernetes_failures.with_label_values(&["review"]).inc();
        tracing::warn!(error = answer, "The API server cannot be asked who it is");
        Err(Denied::Unavailable(format!("the API server cannot be asked: {answer}")))
    }

    async fn review(&self, token: &str, audiences: Option<Vec<String>>) -> Result<TokenReviewStatus, Denied> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        Ok(self.ask(api.create(&params, &review)).await?.status.unwrap_or_default())
    }

    async fn pod(&self, token: &str) -> Result<PodIdentity, Denied> {
        let (hash, now) = (cache::hash(token.as_bytes()), Instant::now());
        let known = lock(&self.agents).get(&hash, now).map(|(answer, age)| (answer.clone(), age));
        match &known {
            Some((Ok(pod), age)) if *age < TOKEN_AGE_MAX => return Ok(pod.clone()),
            Some((Err(denied), age)) if *age < PERMISSION_AGE_MAX => return Err(denied.clone()),
            _ => {}
        }
        let answer = match self.review(token, Some(vec![AUDIENCE.to_owned()])).await {
            Ok(status) => pod_identity(status),
            Err(unavailable) => {
                return match known {
                    Some((Ok(pod), age)) if age < TOKEN_AGE_UNASKED_MAX => Ok(pod),
                    _ => Err(unavailable),
                };
            }
        };
        lock(&self.agents).put(hash, answer.clone(), now);
        answer
    }

    /// Who brings no token is nobody, and may do what nobody may.
    async fn user(&self, token: Option<&str>, hash: Hash) -> Result<UserInfo, Denied> {
        let Some(token) = token else { return Ok(nobody()) };
        let now = Instant::now();
        if let Some((answer, age)) = lock(&self.people).get(&hash, now)
            && age < if answer.is_ok() { TOKEN_AGE_MAX } else { PERMISSION_AGE_MAX }
        {
            return answer.clone();
        }
        let answer = user_info(self.review(token, None).await?);
        lock(&self.people).put(hash, answer.clone(), now);
        answer
    }

    async fn permitted(&self, token: Option<&str>, action: &Action) -> Result<String, Denied> {
        let hash = cache::hash(token.unwrap_or_default().as_bytes());
        let user = self.user(token, hash).await?;
        let name = user.username.clone().unwrap_or_default();
        let (key, now) = ((hash, action.clone()), Instant::now());
        if let Some((answer, age)) = lock(&self.permissions).get(&key, now)
            && age < PERMISSION_AGE_MAX
        {
            return answer.clone().map(|()| name);
        }
        let review = access_review(user, action);
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let status = self.ask(api.create(&params, &review)).await?.status.unwrap_or_default();
        let answer = match (status.allowed && status.denied != Some(true), token) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(Denied::Forbidden(format!("{name} may not {action}"))),
            (false, None) => Err(Denied::Unauthenticated(format!(
                "who does not say who they are may not {action}; bring a token of the cluster as `Authorization: Bearer`"
            ))),
        };
        lock(&self.permissions).put(key, answer.clone(), now);
        answer.map(|()| name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Door for KubernetesDoor {
    fn agent<'a>(&'a self, token: Option<&'a str>) -> Answer<'a, Option<PodIdentity>> {
        Box::pin(async move {
            if self.own.opens(token) {
                return Ok(None);
            }
            let Some(token) = token else {
                return Err(Denied::Unauthenticated("an agent must bring the token of its pod".to_owned()));
            };
            self.pod(token).await.map(Some)
        })
    }

    fn hello(&self, pod: Option<&PodIdentity>, hello: &Hello) -> Result<(), Denied> {
        // It has brought the gate's own token.
        let Some(pod) = pod else { return Ok(()) };
        let gate = claims(pod, hello)?;
        match self.gates.guards(gate, pod) {
            Guards::Yes => Ok(()),
            Guards::No => Err(Denied::Unguarded(format!(
                "no ReleaseGate {gate:?} in namespace {:?} guards the pod {:?}",
                pod.namespace, pod.name
            ))),
            Guards::NotYetKnown => Err(Denied::Unavailable("the pod is not known yet; come again".to_owned())),
        }
    }

    fn caller<'a>(&'a self, token: Option<&'a str>, action: &'a Action) -> Answer<'a, Option<String>> {
        Box::pin(
            async move { if self.own.opens(token) { Ok(None) } else { self.permitted(token, action).await.map(Some) } },
        )
    }

    fn asks(&self) -> bool {
        true
    }

    fn offers(&self, token: Option<&str>) -> bool {
        token.is_some()
    }
}

fn nobody() -> UserInfo {
    UserInfo {
        username: Some("system:anonymous".to_owned()),
        groups: Some(vec!["system:unauthenticated".to_owned()]),
        ..UserInfo::default()
    }
}

/// The user of a token that the API server accepts.
fn user_info(status: TokenReviewStatus) -> Result<UserInfo, Denied> {
    match (status.authenticated, status.user) {
        (Some(true), Some(user)) => Ok(user),
        _ => {
            let why = status.error.unwrap_or_else(|| "it is not a token of this cluster".to_owned());
            Err(Denied::Unauthenticated(format!("the token is not accepted: {why}")))
        }
    }
}

/// The pod that a token was made for. A token of a service account that is bound to no pod is nobody's agent.
fn pod_identity(status: TokenReviewStatus) -> Result<PodIdentity, Denied> {
    let for_us = status.audiences.iter().flatten().any(|audience| audience == AUDIENCE);
    let user = user_info(status)?;
    let unfit = |what: &str| Err(Denied::Unauthenticated(format!("the token is not one of an agent: {what}")));
    if !for_us {
        return unfit("it is not meant for the gate");
    }
    let account = user.username.as_deref().and_then(|name| name.strip_prefix("system:serviceaccount:"));
    let namespace = account.and_then(|account| account.split_once(':')).map(|(namespace, _)| namespace);
    let claim = |name: &str| match user.extra.as_ref()?.get(name)?.as_slice() {
        [value] => Some(value.clone()),
        _ => None,
    };
    match (namespace, claim(POD_NAME), claim(POD_UID)) {
        (Some(namespace), Some(name), Some(uid)) => Ok(PodIdentity { namespace: namespace.to_owned(), name, uid }),
        _ => unfit("it is bound to no pod"),
    }
}

/// Holds what an agent says of itself against its token. Gives the name of the ReleaseGate that it reports for.
fn claims<'a>(pod: &PodIdentity, hello: &'a Hello) -> Result<&'a str, Denied> {
    let forbidden = |what: String| {
        Err(Denied::Forbidden(format!("{what}; the token is of the pod {}/{} ({})", pod.namespace, pod.name, pod.uid)))
    };
    let instance_of = hello.agent.rsplit_once('/').map(|(pod, _)| pod);
    if !instance_of.is_some_and(|name| name == pod.uid || name == pod.name) {
        return forbidden(format!("the agent says it is {:?}", hello.agent));
    }
    if !matches!(hello.role, Role::Sidecar(_)) {
        return forbidden("the agent says it stands in front of a service".to_owned());
    }
    if !hello.targets.iter().any(|target| *target.pod == *pod.name) {
        return forbidden("the agent's own pod is not among its targets".to_owned());
    }
    match hello.service.split_once('/') {
        Some((namespace, gate)) if namespace == pod.namespace => Ok(gate),
        _ => forbidden(format!("the agent says it reports for {:?}", hello.service)),
    }
}

/// Asks whether a user may do it.
fn access_review(user: UserInfo, action: &Action) -> SubjectAccessReview {
    let attributes = ResourceAttributes {
        group: Some(API_GROUP.to_owned()),
        resource: Some("releasegates".to_owned()),
        subresource: action.subresource.clone(),
        verb: Some(action.verb.to_owned()),
        namespace: action.namespace.clone(),
        name: action.name.clone(),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: user.username,
        groups: user.groups,
        uid: user.uid,
        extra: user.extra,
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}
