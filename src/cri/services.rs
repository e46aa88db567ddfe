//! Which of the two services a request is for.

use crate::parts;
use http::{Request, Response};
use std::convert::Infallible;
use std::future::ready;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tower::Service;

type Answer = BoxFuture<Response<Body>, Infallible>;

/// Both services, which are told apart by the first part of a request's path.
#[derive(Debug, Clone)]
pub(crate) struct Services<R, I> {
    /// Pods and containers.
    pub(crate) runtime: R,
    /// Images.
    pub(crate) images: I,
}

impl<R, I> Service<Request<Body>> for Services<R, I>
where
    R: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer> + NamedService,
    I: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer> + NamedService,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.runtime.poll_ready(context) {
            Poll::Ready(Ok(())) => self.images.poll_ready(context),
            other => other,
        }
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        match request.uri().path().split('/').nth(1) {
            Some(name) if name == R::NAME => {
                let answer = self.runtime.call(request);
                Box::pin(async move { answer.await.map(parts::put) })
            }
            Some(name) if name == I::NAME => self.images.call(request),
            _ => Box::pin(ready(Ok(Status::unimplemented("").into_http()))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Named<const RUNTIME: bool>;

    impl NamedService for Named<true> {
        const NAME: &'static str = "runtime.v1.RuntimeService";
    }

    impl NamedService for Named<false> {
        const NAME: &'static str = "runtime.v1.ImageService";
    }

    impl<const RUNTIME: bool> Service<Request<Body>> for Named<RUNTIME> {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Answer;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Answer {
            let said = if RUNTIME { "runtime" } else { "images" };
            Box::pin(ready(Ok(Response::builder().header("said", said).body(Body::empty()).unwrap())))
        }
    }

    #[tokio::test]
    async fn each_path_leads_to_its_service_and_others_to_none() {
        let mut services = Services { runtime: Named::<true>, images: Named::<false> };
        for (path, said, status) in [
            ("/runtime.v1.RuntimeService/Version", Some("runtime"), None),
            ("/runtime.v1.ImageService/ListImages", Some("images"), None),
            ("/runtime.v1.ImageService", Some("images"), None),
            ("/runtime.v1alpha2.RuntimeService/Version", None, Some("12")),
            ("/runtime.v1.RuntimeServices/Version", None, Some("12")),
            ("/", None, Some("12")),
            ("//runtime.v1.RuntimeService/Version", None, Some("12")),
        ] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let answer = services.call(request).await.unwrap();
            let header =
                |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(
                (header("said").as_deref(), header("grpc-status").as_deref()),
                (said, status),
                "{path}"
            );
        }
    }
}
