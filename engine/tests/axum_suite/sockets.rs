//! WebSockets and other upgrades of the application.

use axum::Router;
use axum::extract::ws::{Message, WebSocket};
use axum::extract::{Request, WebSocketUpgrade};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};

use crate::app::Shared;

pub(crate) fn router() -> Router<Shared> {
    Router::new()
        .route("/ws", any(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(echo) }))
        .route(
            "/ws/chat",
            get(|upgrade: WebSocketUpgrade| async { upgrade.protocols(["chat", "other"]).on_upgrade(echo) }),
        )
        .route("/ws/greets", get(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(greet) }))
        .route("/ws/refused", get(|_: WebSocketUpgrade| async { (StatusCode::FORBIDDEN, "not you") }))
        .route("/raw", get(raw))
}

/// Sends every message back.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Speaks first, and is silent from then on.
async fn greet(mut socket: WebSocket) {
    let _ = socket.send(Message::text("welcome")).await;
    let _ = socket.recv().await;
}

/// Another protocol, by hyper's own types: gives back what comes, in capitals.
async fn raw(request: Request) -> Response {
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut io = hyper_util::rt::TokioIo::new(upgraded);
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = tokio::io::AsyncReadExt::read(&mut io, &mut buffer).await {
            buffer[..count].make_ascii_uppercase();
            if tokio::io::AsyncWriteExt::write_all(&mut io, &buffer[..count]).await.is_err() {
                return;
            }
        }
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut io).await;
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("capitals"));
    response
}
