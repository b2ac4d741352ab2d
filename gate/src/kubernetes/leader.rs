//! People and machines may ask any gate: one that does not lead passes the request on to the one that does.
//!
//! A request is passed on over a connection of its own: they are few, some of them wait for minutes, and so the newest
//! certificates count. The leader is called by its address, and must show a certificate for the gates' common name.

use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use super::elector::Standing;
use crate::tls::{self, Certificates};

/// Header of a request that was passed on: it is not passed on again, so that two gates cannot play ball with it.
const PASSED: &str = "blueback-passed-on";
/// What every gate answers for itself.
const OWN: [&str; 3] = ["/metrics", "/live", "/ready"];
/// How long a leader may take to be connected: a living one is there within milliseconds.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// How the leader is reached.
#[derive(Clone)]
pub struct Way {
    /// The certificates of the gates, which are the same for all of them; without them nothing is encrypted.
    pub certificates: Option<Certificates>,
    /// The name that they are for.
    pub name: String,
}

/// The API of a gate that may not lead.
pub fn forwarding(router: Router, standing: watch::Receiver<Standing>, way: Way) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let (standing, way) = (standing.borrow().clone(), way.clone());
        async move {
            let path = request.uri().path();
            let own = OWN.contains(&path) || path == crate::intake::Intake::PATH;
            match standing {
                Standing::Follows(leader) if !own => pass_on(&way, leader, request).await,
                _ => next.run(request).await,
            }
        }
    }))
}

async fn pass_on(way: &Way, leader: Option<String>, request: Request) -> Response {
    let passed = request.headers().contains_key(PASSED);
    let Some(leader) = leader.filter(|_| !passed) else {
        return (StatusCode::MISDIRECTED_REQUEST, "no gate leads now; ask again shortly\n").into_response();
    };
    match way.ask(&leader, request).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(%leader, error = format!("{error:#}"), "The leader does not answer");
            (StatusCode::BAD_GATEWAY, "the leader does not answer; ask again shortly\n").into_response()
        }
    }
}

impl Way {
    async fn ask(&self, leader: &str, mut request: Request) -> anyhow::Result<Response> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().context("the path")?;
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().insert(header::HOST, leader.parse().context("the leader's address")?);
        request.headers_mut().insert(PASSED, HeaderValue::from_static("1"));
        let authorities = match &self.certificates {
            Some(certificates) => Some(certificates.authorities().context("there is no ca.crt to know the leader by")?),
            None => None,
        };
        let trust = authorities.as_deref().map(|authorities| (self.name.as_str(), authorities));
        let connected = tokio::time::timeout(CONNECT_MAX, tls::connect(leader, trust));
        let stream = connected.await.context("no connection in time")??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer's body; what goes wrong with it goes wrong with that as well.
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?.map(Body::new))
    }
}
