//! What can be asked. The document (docs/openapi.json) is made of these functions; what is not among them is not answered.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Path, Query, State as Given, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    answer::{Asker, Problem, State},
    ask,
    settings::Right,
};
use crate::{
    alerts::Alert,
    index::{ChainRow, ContactRow, FileRow, GapRow, HostRow, ImageRow, StatementDetail, StatementRow},
    store,
};

type Known = Given<Arc<State>>;
type Who = (Extension<Asker>, HeaderMap);
type Asked<T> = Result<Query<T>, QueryRejection>;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listed<T> {
    items: Vec<T>,
    /// Where the next page begins (`cursor`); none where this is the last one.
    next: Option<String>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "testimony-collector",
        version = "1",
        description = "What nodes swore to, as the collector verified and kept it. Facts of statements are their signers' word; what an \
                       incomplete statement does not say may have happened all the same.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    modifiers(&Ways),
    security(("token" = []), ("certificate" = []))
)]
struct Document;

/// How who asks is known.
struct Ways;

impl Modify for Ways {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        components.add_security_scheme(
            "certificate",
            SecurityScheme::MutualTls { description: None, extensions: None, deprecated: None },
        );
    }
}

fn routes() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(statements))
        .routes(routes!(statement))
        .routes(routes!(envelope))
        .routes(routes!(files))
        .routes(routes!(contacts))
        .routes(routes!(images))
        .routes(routes!(gaps))
        .routes(routes!(chains))
        .routes(routes!(hosts))
        .routes(routes!(alerts))
        .routes(routes!(openapi))
        .routes(routes!(metrics))
}

/// All of it, for who serves it.
pub(super) fn router(state: Arc<State>) -> Router {
    let (router, _) = routes().split_for_parts();
    router.fallback(nothing).method_not_allowed_fallback(no_method).with_state(state)
}

/// The document.
pub(crate) fn document() -> String {
    let document = routes().split_for_parts().1;
    // Into memory nothing fails.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

async fn nothing(Given(state): Known, (Extension(asker), headers): Who) -> Problem {
    // Who may ask nothing is not told what there is.
    let known = [Right::Facts, Right::Statements, Right::Metrics];
    match known.into_iter().map(|right| state.allow(&asker, &headers, right)).reduce(Result::or) {
        Some(Err(problem)) => problem,
        _ => Problem::not_found("there is nothing here: docs/openapi.json says what there is"),
    }
}

async fn no_method(Given(state): Known, (Extension(asker), headers): Who) -> Response {
    if let Err(problem) = state.allow(&asker, &headers, Right::Facts) {
        return problem.into_response();
    }
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "only GET is answered");
    ([(header::ALLOW, "GET")], problem).into_response()
}

fn asked<T>(asked: Asked<T>) -> Result<T, Problem> {
    asked.map(|Query(asked)| asked).map_err(|rejection| Problem::bad(rejection.body_text()))
}

fn listed<T>((items, next): (Vec<T>, Option<String>)) -> Json<Listed<T>> {
    Json(Listed { items, next })
}

macro_rules! question {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($path:literal, $asked:ty, $row:ty, |$state:ident, $question:ident| $answer:expr)) => {
        $(#[$doc])*
        #[utoipa::path(
            get,
            path = $path,
            params($asked),
            responses(
                (status = 200, body = Listed<$row>),
                (status = 400, description = "Not understood", body = Problem),
                (status = 401, description = "Nobody who is known", body = Problem),
                (status = 403, description = "Somebody who lacks the right `facts`", body = Problem),
                (status = 429, description = "Too many questions at once", body = Problem),
                (status = 503, description = "Too costly, or not now", body = Problem),
            )
        )]
        $vis async fn $name(
            Given($state): Known,
            (Extension(asker), headers): Who,
            $question: Asked<$asked>,
        ) -> Result<Json<Listed<$row>>, Problem> {
            $state.allow(&asker, &headers, Right::Facts)?;
            let $question = asked($question)?;
            Ok(listed($answer))
        }
    };
}

question! {
    /// Statements that were kept, the newest first.
    pub(super) fn statements("/v1/statements", ask::Statements, StatementRow, |state, question| {
        let (filter, page) = (question.filter()?, question.page());
        state.ask(move |index| index.statements(&filter, &page)).await?
    })
}

question! {
    /// Who read, wrote or ran a content.
    pub(super) fn files("/v1/files", ask::Files, FileRow, |state, question| {
        let (sha256, page) = (question.sha256()?, question.page());
        state.ask(move |index| index.files(&sha256, question.access.as_deref(), &page)).await?
    })
}

question! {
    /// Who talked to a peer of the network.
    pub(super) fn contacts("/v1/contacts", ask::Contacts, ContactRow, |state, question| {
        let (peer, page) = (question.peer()?, question.page());
        state.ask(move |index| index.contacts(&peer, &page)).await?
    })
}

question! {
    /// Images that containers ran; none of them is verified by nodes of this version.
    pub(super) fn images("/v1/images", ask::All, ImageRow, |state, question| {
        let page = question.page();
        state.ask(move |index| index.images(&page)).await?
    })
}

question! {
    /// What statements lack, the newest first.
    pub(super) fn gaps("/v1/gaps", ask::Gaps, GapRow, |state, question| {
        let ([host, code], page) = (question.which()?, question.page());
        state.ask(move |index| index.gaps(host.as_deref(), code.as_deref(), &page)).await?
    })
}

question! {
    /// Chains of statements, with what is missing in them or contradicts.
    pub(super) fn chains("/v1/chains", ask::Chains, ChainRow, |state, question| {
        let page = question.page();
        state.ask(move |index| index.chains(question.broken, &page)).await?
    })
}

question! {
    /// Hosts, with when they were last heard of.
    pub(super) fn hosts("/v1/hosts", ask::Hosts, HostRow, |state, question| {
        let (before, page) = (question.silent_before_s()?, question.page());
        state.ask(move |index| index.hosts(before, &page)).await?
    })
}

question! {
    /// Alerts that were made, the newest first, as far as they are kept.
    pub(super) fn alerts("/v1/alerts", ask::All, Alert, |state, question| {
        let page = question.page();
        state.ask(move |index| index.alerts(&page)).await?
    })
}

/// One statement, with its subjects and gaps.
#[utoipa::path(
    get,
    path = "/v1/statements/{payload}",
    params(("payload" = String, Path, description = "SHA-256 of its payload", pattern = "^[0-9a-f]{64}$")),
    responses(
        (status = 200, body = StatementDetail),
        (status = 400, description = "No digest", body = Problem),
        (status = 401, description = "Nobody who is known", body = Problem),
        (status = 403, description = "Somebody who lacks the right `facts`", body = Problem),
        (status = 404, description = "No such statement", body = Problem),
        (status = 429, description = "Too many questions at once", body = Problem),
        (status = 503, description = "Too costly, or not now", body = Problem),
    )
)]
async fn statement(
    Given(state): Known,
    (Extension(asker), headers): Who,
    Path(payload): Path<String>,
) -> Result<Json<StatementDetail>, Problem> {
    state.allow(&asker, &headers, Right::Facts)?;
    let sha256 = ask::sha256("the payload", &payload)?;
    let found = state.ask(move |index| Ok(index.statement(&sha256)?)).await?;
    found.map(Json).ok_or_else(|| Problem::not_found("no statement has this payload"))
}

/// A whole statement: its envelope (DSSE), as it was sent.
#[utoipa::path(
    get,
    path = "/v1/statements/{payload}/envelope",
    params(("payload" = String, Path, description = "SHA-256 of its payload", pattern = "^[0-9a-f]{64}$")),
    responses(
        (status = 200, description = "The envelope", body = serde_json::Value, content_type = "application/vnd.dsse.envelope+json"),
        (status = 400, description = "No digest", body = Problem),
        (status = 401, description = "Nobody who is known", body = Problem),
        (status = 403, description = "Somebody who lacks the right `statements`", body = Problem),
        (status = 404, description = "No such statement", body = Problem),
        (status = 429, description = "Too many questions at once", body = Problem),
        (status = 503, description = "Not now", body = Problem),
    )
)]
async fn envelope(
    Given(state): Known,
    (Extension(asker), headers): Who,
    Path(payload): Path<String>,
) -> Result<Response, Problem> {
    state.allow(&asker, &headers, Right::Statements)?;
    let sha256 = ask::sha256("the payload", &payload)?;
    let found = state.turn(move |state| {
        let found = store::Reader::open(&state.folder).and_then(|store| store.envelope(&sha256));
        found.map_err(|error| crate::index::Bad::from(crate::index::Error::from(error)).into())
    });
    let envelope = found.await?.ok_or_else(|| Problem::not_found("no statement has this payload"))?;
    Ok(([(header::CONTENT_TYPE, "application/vnd.dsse.envelope+json")], envelope).into_response())
}

/// This document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    responses(
        (status = 200, body = serde_json::Value),
        (status = 401, description = "Nobody who is known", body = Problem),
        (status = 403, description = "Somebody who lacks the right `facts`", body = Problem),
    )
)]
async fn openapi(Given(state): Known, (Extension(asker), headers): Who) -> Result<Response, Problem> {
    state.allow(&asker, &headers, Right::Facts)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], document()).into_response())
}

/// Metrics, as Prometheus reads them.
#[utoipa::path(
    get,
    path = "/metrics",
    responses(
        (status = 200, body = String, content_type = "application/openmetrics-text"),
        (status = 401, description = "Nobody who is known", body = Problem),
        (status = 403, description = "Somebody who lacks the right `metrics`", body = Problem),
        (status = 429, description = "Too many questions at once", body = Problem),
        (status = 503, description = "Not now", body = Problem),
    )
)]
async fn metrics(Given(state): Known, (Extension(asker), headers): Who) -> Result<Response, Problem> {
    state.allow(&asker, &headers, Right::Metrics)?;
    let page = state.turn(|state| Ok(state.metrics.page(&state.folder, state.silent_after_s))).await?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response())
}
