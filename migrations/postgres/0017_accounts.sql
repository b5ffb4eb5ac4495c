-- People who sign in. Of what opens something, only hashes are here.

-- `folded` is the name without capitals. At most one is the `founder`, who came by the link of the first start.
create table wo_users (
    id uuid not null,
    tenant_id uuid not null,
    name text not null,
    folded text not null,
    password text not null,
    roles text not null,
    founder integer not null,
    created_at timestamptz not null,
    disabled_at timestamptz,
    primary key (id)
);
create unique index wo_users_by_name on wo_users (folded);
create unique index wo_users_founder on wo_users (founder) where founder = 1;

create table wo_sessions (
    hash bytea not null,
    id uuid not null,
    user_id uuid not null,
    created_at timestamptz not null,
    seen_at timestamptz not null,
    expires_at timestamptz not null,
    address text not null,
    agent text not null,
    primary key (hash)
);
create unique index wo_sessions_by_id on wo_sessions (id);
create index wo_sessions_by_user on wo_sessions (user_id, created_at);

-- Without a user, a link makes the first owner.
create table wo_account_links (
    hash bytea not null,
    user_id uuid,
    expires_at timestamptz not null,
    primary key (hash)
);

create table wo_sign_in_tries (
    account text not null,
    network text not null,
    failures integer not null,
    since timestamptz not null,
    locks integer not null,
    locked_until timestamptz,
    primary key (account, network)
);
