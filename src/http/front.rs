//! What every request meets before a route, and every answer after it: the gate, and the headers by which a browser lets
//! a page read the answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper::{Request, Response as HttpResponse};
use warp::http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::gate::{Admission, Gate};
use super::lobby::{Serving, Visitor};
use super::peer::Peer;
use super::problem;

/// Paths that anybody may ask for by any name: those who watch over servers know addresses only, and learn nothing else.
const WATCHED: &[&str] = &["/healthz", "/readyz"];

/// Answers the requests of one connection.
pub(super) struct Front<S> {
    pub gate: Gate,
    pub routes: S,
    pub peer: Peer,
    pub visitor: Arc<Visitor>,
}

impl<S> Service<Request<Incoming>> for Front<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    type Response = HttpResponse<Held>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let serving = self.visitor.serve();
        let admitted = if WATCHED.contains(&request.uri().path()) {
            Ok(None)
        } else if let Some(response) = contradicts_itself(&request) {
            self.gate.counters().malformed_requests_refused.add(1);
            Err(Box::new(response))
        } else {
            self.gate
                .admit(request.headers(), Some(self.peer))
                .map(Some)
        };
        match admitted {
            Err(response) => {
                let held = Held::wrap(*response, None, serving);
                Box::pin(std::future::ready(Ok(held)))
            }
            Ok(admission) => {
                if let Some(admission) = &admission {
                    request.extensions_mut().insert(admission.clone());
                }
                let answering = self.routes.call(request);
                Box::pin(async move {
                    let Ok(mut response) = answering.await;
                    if let Some(admission) = &admission {
                        admission.mark(response.headers_mut());
                    }
                    Ok(Held::wrap(response, admission, serving))
                })
            }
        }
    }
}

/// Whether a request may end elsewhere for a proxy before us than for us. hyper refuses what it cannot understand, two
/// different lengths among it; and with `Transfer-Encoding` it does not look at a length, and hangs up after the answer.
fn contradicts_itself(request: &Request<Incoming>) -> Option<Response> {
    let has_body = matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::PATCH
    );
    if has_body || !request.headers().contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let mut response = problem(
        StatusCode::BAD_REQUEST,
        "bad_request",
        "a request without a body has no Transfer-Encoding",
    );
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    Some(response)
}

/// The body of an answer, which keeps the connection counted until it has been sent.
pub(super) struct Held {
    body: Body,
    _admission: Option<Admission>,
    _serving: Serving,
}

/// What bodies of answers are: warp has no name for it.
type Body = <Response as HasBody>::Body;

trait HasBody {
    type Body;
}

impl<B> HasBody for HttpResponse<B> {
    type Body = B;
}

impl Held {
    fn wrap(
        response: Response,
        admission: Option<Admission>,
        serving: Serving,
    ) -> HttpResponse<Self> {
        response.map(|body| Self {
            body,
            _admission: admission,
            _serving: serving,
        })
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = warp::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, warp::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
