"""The gateway as an nginx configuration, for a coordinator whose IT runs nginx: same door, same rules."""

from __future__ import annotations

from pathlib import Path

from fl_liver.consortium.folder import Consortium
from fl_liver.server.gateway import ASKED, BODY_BYTES, FLEET
from fl_liver.server.guests import BURST, PER_SECOND

_TEMPLATE = """\
# fl_liver gateway for '{name}', made by `fl-liver coordinator up --print-nginx`. Goes into http {{ }}: save it as
# /etc/nginx/conf.d/fl-liver.conf and run the server behind it with `fl-liver coordinator up --no-gateway
# --superlink-port {superlink_port}`. After `coordinator revoke` or `renew`: nginx -s reload.
limit_req_zone $ssl_client_serial zone=fl_liver:1m rate={per_second}r/s;

server {{
    listen {port} ssl;
    server_name {host};
    ssl_certificate         {server_certificate};
    ssl_certificate_key     {server_key};
    ssl_protocols           TLSv1.2 TLSv1.3;
    ssl_client_certificate  {authority};
    ssl_verify_client       on;
    ssl_verify_depth        1;
    ssl_crl                 {revoked};

    client_max_body_size    {body_bytes};
    limit_req               zone=fl_liver burst={burst} nodelay;
    limit_req_status        429;
    proxy_http_version      1.1;
    proxy_set_header        Connection "";
    proxy_request_buffering off;
    proxy_buffering         off;
    proxy_read_timeout      60s;
    proxy_ssl_trusted_certificate {loopback_authority};
    proxy_ssl_verify        on;
    proxy_ssl_name          localhost;

    location ~ ^{fleet}({asked})$ {{
        limit_except POST {{ deny all; }}
        proxy_pass https://127.0.0.1:{superlink_port};
    }}
    location = /health {{
        proxy_pass https://127.0.0.1:{superlink_port};
    }}
    location / {{
        return 404;
    }}
}}
"""


def nginx_configuration(consortium: Consortium, port: int, superlink_port: int, loopback_authority: Path) -> str:
    """What the built-in gateway does, but for one thing: nginx knows revoked certificates, not the register."""
    return _TEMPLATE.format(
        name=consortium.register.name,
        host=consortium.register.address.rpartition(":")[0].strip("[]"),
        port=port,
        superlink_port=superlink_port,
        per_second=round(PER_SECOND),
        burst=round(BURST),
        body_bytes=BODY_BYTES,
        fleet=FLEET,
        asked="|".join(ASKED),
        server_certificate=consortium.server_certificate.resolve(),
        server_key=consortium.server_key.resolve(),
        authority=consortium.authority_certificate.resolve(),
        revoked=consortium.revocation_list.resolve(),
        loopback_authority=loopback_authority.resolve(),
    )
