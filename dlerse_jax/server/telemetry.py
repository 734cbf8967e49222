"""Spans of requests for OpenTelemetry, where its packages are installed.

Where they go is what the OTEL_* variables say (OTEL_EXPORTER_OTLP_ENDPOINT). A span has
the method, the route's pattern and the status: no ids, no addresses, no bodies.
"""

from typing import Any

from dlerse_jax.server.guard import App, Receive, Scope, Send


def traced(app: App, exporter: Any = None) -> App:
    """The application with a span around every request.

    exporter: of spans, None for OTLP over HTTP. ValueError where the packages are
    missing.
    """
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ValueError(
            "--telemetry needs the extra: pip install 'dlerse_jax[telemetry]'"
        ) from error
    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter,
        )

        exporter = OTLPSpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "dlerse"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("dlerse")

    async def with_span(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                await app(scope, receive, send)
            finally:
                provider.shutdown()
            return
        with tracer.start_as_current_span(scope.get("method", "websocket")) as span:

            async def watched(message: Any) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            await app(scope, receive, watched)
            route = getattr(scope.get("route"), "path_format", "other")
            span.update_name(f"{scope.get('method', '')} {route}")
            span.set_attribute("http.route", route)

    return with_span
