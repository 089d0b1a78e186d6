//! The control: what hyper alone does with the same bytes on the same machine.
//!
//! Answers `GET /…/{n}` with `n` bytes that were made at start, reads the body of a PUT to its end and answers
//! 201, and does nothing else. What Larder loses against it is the price of being a cache; what both lose
//! against nginx is the price of hyper.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

#[derive(Parser)]
struct Args {
    /// Port on 127.0.0.1; without one nothing runs (so that a runner of all targets passes by).
    #[arg(long)]
    port: Option<u16>,
    /// Sizes of the bodies that are ready to be asked for.
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<usize>,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

type Bodies = Arc<HashMap<String, Bytes>>;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let Some(port) = args.port else { return Ok(()) };
    let bodies: Bodies =
        Arc::new(args.sizes.iter().map(|n| (n.to_string(), Bytes::from(vec![b'x'; *n]))).collect());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let bodies = bodies.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| answer(request, &bodies));
            // A client that hangs up is the normal end of a round.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>, bodies: &Bodies) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    if request.method() == Method::PUT {
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        *response.status_mut() = StatusCode::CREATED;
        return Ok(response);
    }
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    let Some(body) = bodies.get(name) else {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Ok(response);
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ETAG, HeaderValue::from_static("\"0123456789abcdef0123456789abcdef\""));
    *response.body_mut() = Full::new(body.clone());
    Ok(response)
}
