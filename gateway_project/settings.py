"""Django's settings, all of them from one checked configuration."""

from __future__ import annotations

import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

from apiv1.inbound import KEY_NAMES
from gateway_project.config import Config
from gateway_project.env import SettingsError, from_process
from gateway_project.logs import configure

BASE_DIR = Path(__file__).resolve().parent.parent


def _config() -> Config:
    try:
        return from_process()
    except SettingsError as error:
        # For a person, who needs the words and not where in the program they arose.
        sys.exit("\n".join(["The gateway's configuration is wrong:", *(f"  {p}" for p in error.problems)]))


GATEWAY = _config()

SECRET_KEY, *SECRET_KEY_FALLBACKS = GATEWAY.secrets.django_keys
DEBUG = False
# Nothing is built from the Host header, and by which names a gateway is called is its operators' affair.
# What a wrong one could do to the admin, the cookies' and the CSRF check's own rules prevent.
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "gateway_project.urls"
ASGI_APPLICATION = "gateway_project.asgi.application"
APPEND_SLASH = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "gateway_project.admin_apps.ThemeConfig",  # before the admin, whose templates it replaces
    "gateway_project.admin_apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "django_prometheus",
    "axes",
    "providers.apps.ProvidersConfig",
    "accounts.apps.AccountsConfig",
    "routing.apps.RoutingConfig",
    "console.apps.ConsoleConfig",
    "gateway_project.apps.GatewayProjectConfig",
]

# For the admin and /metrics. API calls come in by the lean door and pass none of these.
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "gateway_project.page_policy.PagePolicy",
    "gateway_project.scrape.OwnAddresses",
    "gateway_project.zero_bytes.NoZeroBytes",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.acting.KnowsWhoActs",
    "django.contrib.messages.middleware.MessageMiddleware",
    "routing.frozen_page.FrozenPage",
    "routing.approval_page.ApprovalPage",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
    # The last: what it takes back is the page's alone.
    "routing.draft_mode.DraftMode",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def _database() -> dict[str, Any]:
    row: dict[str, Any] = dict(GATEWAY.database)
    if row["ENGINE"].endswith("sqlite3"):
        # Readers beside one writer; a writer waits its turn instead of failing; and it takes its turn at the
        # beginning, because a lock that is asked for in the middle of a transaction cannot be waited for.
        row["OPTIONS"] = {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
        }
        if GATEWAY.database["NAME"] != ":memory:":
            file = Path(row["NAME"])
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not file.exists():
                # Its owner's alone, whoever made the folder; SQLite gives its journals the same mode.
                file.touch(mode=0o600)
    else:
        # A host that vanishes without a word is noticed in half a minute, not in the hours of TCP.
        vanished = {
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 25_000,
        }
        row["OPTIONS"] = {"connect_timeout": 5, **vanished, **row.get("OPTIONS", {})}
        row["CONN_MAX_AGE"] = 60
        row["CONN_HEALTH_CHECKS"] = True
    return row


DATABASES = {"default": _database()}

# --- The admin's users

_BY_PASSWORD = GATEWAY.oidc is None or not GATEWAY.oidc.only
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    *(["django.contrib.auth.backends.ModelBackend"] if _BY_PASSWORD else []),
    # A session that began by single sign-on ends where that is switched off, and the other way round.
    *(["console.oidc.backend.SignedOn"] if GATEWAY.oidc is not None else []),
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Ten wrong passwords for one user or from one address, and both have to wait. In the database, so that it
# holds on every replica.
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = ["username", "ip_address"]
AXES_RESET_ON_SUCCESS = True
AXES_HANDLER = "gateway_project.login_guard.LoginGuard"
AXES_VERBOSE = False
# Of a failed login the query is written down too, and a key may stand in it that somebody took to the wrong
# page; and what an identity provider sends a browser back with.
AXES_SENSITIVE_PARAMETERS = [
    *("username", "ip_address", "csrfmiddlewaretoken", "next", "code", "state", *KEY_NAMES)
]

# A browser sends Secure cookies over TLS and to this machine; an address that is declared to be plain HTTP
# gets cookies that work there.
_PLAIN = GATEWAY.public_url is not None and GATEWAY.public_url.startswith("http://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = GATEWAY.production and not _PLAIN
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_NAME = "gateway_session"
CSRF_COOKIE_NAME = "gateway_csrf"
SESSION_COOKIE_AGE = 12 * 60 * 60
# Behind a proxy that ends TLS a browser says https where this process sees http; its address is then known.
CSRF_TRUSTED_ORIGINS = [GATEWAY.public_url] if GATEWAY.public_url else []
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60
SILENCED_SYSTEM_CHECKS = [
    "security.W008",  # whether to redirect to TLS is decided where TLS ends, and that is not here
    "security.W005",  # what the domain's other names do is not ours to decide
    "security.W021",  # nor is the browsers' preload list
]

# --- Static files

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
# A checkout serves them from where the packages keep them; the container has collected them.
WHITENOISE_USE_FINDERS = not STATIC_ROOT.exists()
WHITENOISE_AUTOREFRESH = False
# The files are small and come from disk; an async reader for them would gain nothing.
warnings.filterwarnings("ignore", "StreamingHttpResponse must consume synchronous iterators", Warning)
warnings.filterwarnings("ignore", "No directory at", UserWarning)  # the same folder, not collected yet

# --- The admin's look

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "LLM gateway",
    "SITE_HEADER": "LLM gateway",
    "SITE_SYMBOL": "hub",
    "SHOW_HISTORY": True,
    "ENVIRONMENT": "routing.draft_mode.badge",
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "routing.admin_home.dashboard",
    "SIDEBAR": {"show_search": False, "navigation": "routing.admin_home.navigation"},
}

# --- The API, as Django's own stack would serve it

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "LLM gateway: management API",
    "DESCRIPTION": "What the admin does, for programs. A management token is made by manage.py tokens issue.",
    "VERSION": "1",
    "SCHEMA_PATH_PREFIX": "/manage/v1",
    # The API of the models has documents of its own, of those whose dialects it speaks.
    "PREPROCESSING_HOOKS": ["console.manage.document.only_manage"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "console.manage.document.what_may_be_kept",
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    # Fields of one name with choices of their own.
    "ENUM_NAME_OVERRIDES": {
        "DraftState": "routing.models_drafts.STATES",
        "LimitKind": "accounts.allowances.LIMIT_KINDS",
        "StateEnum": "accounts.ledger.rows.STATES",
        "ProviderKind": "providers.models.kind_choices",
    },
    "SERVE_PERMISSIONS": ["console.manage.access.MayDo"],
    "AUTHENTICATION_WHITELIST": ["console.manage.access.TokenAuthentication"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "tryItOutEnabled": False},
}
# The gateway's own cap stands in the door; this one is for forms of the admin.
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 5000

# --- Words, times, logs

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
LOGGING_CONFIG = None
LOG_SINK = configure(GATEWAY.log_level, as_json=GATEWAY.production)
