//! The method table: from a path to the code that answers it.
//!
//! Circle: a handler, which the router holds, is given a call, whose stream and observer speak of methods.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use futures_util::FutureExt;
use net::LocalFuture;
use proto::{Kind, Rpc};
use types::{Code, Refusal};

use crate::budget::Unread;
use crate::reply::{self, Reply};
use crate::status::{cut, quoted};
use crate::{Call, Inbound, Sink};

/// A registered method.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// `package.Service`.
    pub service: &'static str,
    /// `Method`.
    pub name: &'static str,
    /// Which ends are streams.
    pub kind: Kind,
    /// Which of etcd's methods it is; `None` for one that only tests know.
    pub rpc: Option<Rpc>,
    /// Counts methods in the order of their registration, from 0.
    pub index: usize,
}

type Unary = Box<dyn Fn(Call, Bytes) -> LocalFuture<Result<Bytes, Refusal>> + Send + Sync>;
type ServerStream =
    Box<dyn Fn(Call, Bytes, Sink) -> LocalFuture<Result<(), Refusal>> + Send + Sync>;
type Bidi = Box<dyn Fn(Call, Inbound, Sink) -> LocalFuture<Result<(), Refusal>> + Send + Sync>;

/// The code behind a method. A unary one answers with a framed message.
pub(crate) enum Handler {
    Unary(Unary),
    ServerStream(ServerStream),
    Bidi(Bidi),
}

/// An answer's frame, counted. What was reserved for its making goes with the reply.
fn framed<R: Reply>(reply: R, unread: &Unread) -> Result<Bytes, Refusal> {
    let frame = reply::answer_frame(&reply)?;
    drop(reply);
    unread.count(frame)
}

/// A method and the code behind it.
pub(crate) struct Route {
    pub method: Method,
    pub handler: Handler,
}

/// All methods of a server. Filled once, then shared by every connection.
#[derive(Default)]
pub struct Router {
    routes: Vec<Route>,
    by_path: HashMap<&'static str, usize>,
}

impl Router {
    /// A table without methods.
    pub fn new() -> Router {
        Router::default()
    }

    /// Registers a method with one message each way. The message comes undecoded and may share the
    /// connection's read buffer: copy what is kept for long.
    pub fn unary<F, Fut, R>(&mut self, path: &'static str, handler: F)
    where
        F: Fn(Call, Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Refusal>> + 'static,
        R: Reply,
    {
        let erased = move |call: Call, message: Bytes| -> LocalFuture<Result<Bytes, Refusal>> {
            let unread = call.unread();
            let answer = handler(call, message);
            Box::pin(answer.map(move |answer| answer.and_then(|reply| framed(reply, &unread))))
        };
        self.add(path, Kind::Unary, Handler::Unary(Box::new(erased)));
    }

    /// Like [`Router::unary`], with the request decoded.
    pub fn unary_of<M, F, Fut, R>(&mut self, path: &'static str, handler: F)
    where
        M: prost::Message + prost::Name + Default + 'static,
        F: Fn(Call, M) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Refusal>> + 'static,
        R: Reply,
    {
        let erased = move |call: Call, message: Bytes| -> LocalFuture<Result<Bytes, Refusal>> {
            let decoded = call.decode(message);
            let (request, decoded) = match decoded {
                Ok(decoded) => decoded,
                Err(refusal) => return Box::pin(std::future::ready(Err(refusal))),
            };
            let unread = call.unread();
            let answer = handler(call, request);
            Box::pin(answer.map(move |answer| {
                drop(decoded);
                answer.and_then(|reply| framed(reply, &unread))
            }))
        };
        self.add(path, Kind::Unary, Handler::Unary(Box::new(erased)));
    }

    /// Registers a method with one message in and many out.
    pub fn server_stream<F, Fut>(&mut self, path: &'static str, handler: F)
    where
        F: Fn(Call, Bytes, Sink) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Refusal>> + 'static,
    {
        let erased = move |call: Call, message: Bytes, sink: Sink| {
            Box::pin(handler(call, message, sink)) as LocalFuture<Result<(), Refusal>>
        };
        self.add(path, Kind::ServerStream, Handler::ServerStream(Box::new(erased)));
    }

    /// Registers a method with many messages each way.
    pub fn bidi<F, Fut>(&mut self, path: &'static str, handler: F)
    where
        F: Fn(Call, Inbound, Sink) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Refusal>> + 'static,
    {
        let erased = move |call: Call, inbound: Inbound, sink: Sink| {
            Box::pin(handler(call, inbound, sink)) as LocalFuture<Result<(), Refusal>>
        };
        self.add(path, Kind::Bidi, Handler::Bidi(Box::new(erased)));
    }

    fn add(&mut self, path: &'static str, kind: Kind, handler: Handler) {
        let (service, name) = split(path).expect("a path reads /package.Service/Method");
        let (index, rpc) = (self.routes.len(), Rpc::at(path));
        assert!(rpc.is_none_or(|rpc| rpc.kind() == kind), "{path} is of another kind");
        let method = Method { path, service, name, kind, rpc, index };
        let before = self.by_path.insert(path, index);
        assert!(before.is_none(), "{path} is registered twice");
        self.routes.push(Route { method, handler });
    }

    /// All methods, in the order of their registration.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.routes.iter().map(|route| &route.method)
    }

    /// The method at a path.
    pub fn method(&self, path: &str) -> Option<&Method> {
        self.route(path).map(|route| &route.method)
    }

    pub(crate) fn route(&self, path: &str) -> Option<&Route> {
        self.by_path.get(path).map(|&index| &self.routes[index])
    }

    /// The refusal for a path without a method, in Go's words.
    pub(crate) fn unknown(&self, path: &str) -> Refusal {
        let text = match split(path) {
            None => format!("malformed method name: {}", quoted(path.as_bytes())),
            Some((service, name)) if self.methods().any(|m| m.service == service) => {
                format!("unknown method {} for service {service}", cut(name))
            }
            Some((service, _)) => format!("unknown service {}", cut(service)),
        };
        Refusal::Other(Code::Unimplemented, text.into())
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.methods().map(|method| method.path)).finish()
    }
}

/// Service and method of a path. Go splits at the last slash.
fn split(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.rsplit_once('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router {
        let mut router = Router::new();
        router.unary("/pkg.Echo/Once", |_call, _message| async { Ok(String::new()) });
        router
    }

    #[test]
    fn a_method_is_found_by_its_path_alone() {
        let router = router();
        let method = router.method("/pkg.Echo/Once").expect("it was registered");
        assert_eq!((method.service, method.name, method.index), ("pkg.Echo", "Once", 0));
        assert!(router.method("pkg.Echo/Once").is_none());
    }

    #[test]
    fn what_is_unknown_is_named_in_the_words_of_go() {
        let router = router();
        let said = |path| router.unknown(path).message().to_owned();
        assert_eq!(said("/pkg.Echo/Twice"), "unknown method Twice for service pkg.Echo");
        assert_eq!(said("/pkg.Other/Once"), "unknown service pkg.Other");
        assert_eq!(said("/"), "malformed method name: \"/\"");
        assert_eq!(said("/lonely"), "malformed method name: \"/lonely\"");
    }
}
