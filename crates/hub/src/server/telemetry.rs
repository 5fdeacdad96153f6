//! What operators see: request ids, one log line per request, metrics.
//!
//! [`Telemetry`] goes around everything else. It gives each request an id, counts it, logs it
//! when its last byte has left, and turns a panicking handler into a 500. [`RouteMark`] goes on
//! the router, inside, and reports which route was taken.
//!
//! A log line has method, route template, repository, status, bytes and milliseconds, never a
//! query string, a header or a body. Successful quick reads are logged at `debug`, so that a hub
//! that answers thousands of `HEAD`s a second does not spend its time writing about them; writes,
//! slow requests and large transfers at `info`, faults of ours at `warn`.

mod body;
mod layer;
mod metrics;
mod process;
mod request_id;
mod route;

pub use layer::{Telemetry, TelemetryService};
pub use metrics::Metrics;
pub use request_id::{RequestId, X_REQUEST_ID};
pub use route::{RouteMark, RouteMarkService, RouteSeen};
