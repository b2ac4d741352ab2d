//! Who may come in, and what they may do there.
//!
//! There are two doors: agents report, and people and machines read and decide. What is asked of those who come depends
//! on where the gate stands: beside the application a token in a file will do; in a cluster the API server knows everybody.
//! The callers of this trait do not care.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use blueback_report::Hello;

/// An answer that is waited for.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Denied>> + Send + 'a>>;

/// A pod, proven by its token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodIdentity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody knows who it is.
    #[error("{0}")]
    Unauthenticated(String),
    /// It is known who it is, and they may not.
    #[error("{0}")]
    Forbidden(String),
    /// It is known which pod it is, and no ReleaseGate of that name guards it.
    #[error("{0}")]
    Unguarded(String),
    /// It cannot be told now.
    #[error("{0}")]
    Unavailable(String),
}

/// What somebody wants to do, in the terms of Kubernetes' authorization: a verb on ReleaseGates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// `get`, `list` or `create`.
    pub verb: &'static str,
    /// What is created: `revert`, `switch`, `signals` and so on. Nothing when reading.
    pub subresource: Option<String>,
    /// Namespace of the ReleaseGate; all of them when absent.
    pub namespace: Option<String>,
    /// Its name; all of the namespace when absent.
    pub name: Option<String>,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} releasegates", self.verb)?;
        if let Some(subresource) = &self.subresource {
            write!(f, "/{subresource}")?;
        }
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => f.write_str(" in all namespaces"),
        }
    }
}

impl Action {
    /// It changes something.
    #[must_use]
    pub fn changes(&self) -> bool {
        !matches!(self.verb, "get" | "list")
    }
}

/// Knows who may come in.
pub trait Door: Send + Sync {
    /// Whose agent brings this token. `None` where agents are not asked.
    fn agent<'a>(&'a self, token: Option<&'a str>) -> Answer<'a, Option<PodIdentity>>;

    /// Whether that agent is the one it says it is.
    ///
    /// # Errors
    /// When it is not, or when that cannot be told yet.
    fn hello(&self, pod: Option<&PodIdentity>, hello: &Hello) -> Result<(), Denied>;

    /// Whether who brings this token may do it, and what they are called, where that is known.
    fn caller<'a>(&'a self, token: Option<&'a str>, action: &'a Action) -> Answer<'a, Option<String>>;

    /// Whether those who change something must bring a token.
    fn asks(&self) -> bool;

    /// Whether it makes sense to offer to who brings this token to change something. What they then do is asked again.
    fn offers(&self, token: Option<&str>) -> bool;
}

/// Without Kubernetes: agents are not asked, reading is free, and who changes something must bring the one token, if there
/// is one.
#[derive(Clone, Debug, Default)]
pub struct TokenDoor {
    token: Option<Arc<str>>,
}

impl TokenDoor {
    /// With this token.
    #[must_use]
    pub fn new(token: Option<String>) -> Self {
        Self { token: token.map(Into::into) }
    }

    /// This is the one token.
    #[must_use]
    pub fn opens(&self, token: Option<&str>) -> bool {
        let wanted = self.token.as_deref();
        wanted.is_some_and(|wanted| same(token.unwrap_or_default().as_bytes(), wanted.as_bytes()))
    }
}

impl Door for TokenDoor {
    fn agent<'a>(&'a self, _: Option<&'a str>) -> Answer<'a, Option<PodIdentity>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn hello(&self, _: Option<&PodIdentity>, _: &Hello) -> Result<(), Denied> {
        Ok(())
    }

    fn caller<'a>(&'a self, token: Option<&'a str>, action: &'a Action) -> Answer<'a, Option<String>> {
        let answer = if self.token.is_none() || !action.changes() || self.opens(token) {
            Ok(None)
        } else {
            let text = "the call changes something; it must bring the gate's token as `Authorization: Bearer`";
            Err(Denied::Unauthenticated(text.to_owned()))
        };
        Box::pin(std::future::ready(answer))
    }

    fn asks(&self) -> bool {
        self.token.is_some()
    }

    fn offers(&self, token: Option<&str>) -> bool {
        self.token.is_none() || self.opens(token)
    }
}

/// Compares in a time that depends on the length of what was brought, and on nothing of the token but its length.
fn same(brought: &[u8], token: &[u8]) -> bool {
    let differing = brought.iter().zip(token).fold(0_u8, |differing, (a, b)| differing | (a ^ b));
    brought.len() == token.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_token_nothing_opens_by_one() {
        let closed = TokenDoor::new(Some("0123456789abcdef".to_owned()));
        assert!(closed.opens(Some("0123456789abcdef")) && !closed.opens(Some("")) && !closed.opens(None));
        assert!(!TokenDoor::default().opens(Some("")) && !TokenDoor::default().opens(None));
    }

    #[test]
    fn only_the_token_is_the_token() {
        assert!(same(b"0123456789abcdef", b"0123456789abcdef"));
        for other in [&b""[..], b"0123456789abcdeg", b"0123456789abcde", b"0123456789abcdef0"] {
            assert!(!same(other, b"0123456789abcdef"));
        }
    }
}
