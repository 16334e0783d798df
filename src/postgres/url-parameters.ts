/** libpq's own parameters (its conninfo options, up to PostgreSQL 18). */
export const libpqParameters: ReadonlySet<string> = new Set(
  `host hostaddr port dbname user password passfile require_auth channel_binding connect_timeout client_encoding options application_name
  fallback_application_name keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout replication gssencmode sslmode
  requiressl sslnegotiation sslcompression sslcert sslkey sslpassword sslcertmode sslrootcert sslcrl sslcrldir sslsni sslkeylogfile requirepeer
  ssl_min_protocol_version ssl_max_protocol_version krbsrvname gsslib gssdelegation service servicefile target_session_attrs
  load_balance_hosts min_protocol_version max_protocol_version scram_client_key scram_server_key oauth_issuer oauth_client_id
  oauth_client_secret oauth_scope`.split(/\s+/),
)

/**
 * Parameters of other drivers and of the tools around them, which one DATABASE_URL may carry for an application. They say nothing that a dump could need, so they are noted and not
 * refused. From the documentation of Prisma, node-postgres, postgres.js, Knex, asyncpg and SQLAlchemy, dj-database-url, psycopg, ActiveRecord, pgx and lib/pq, sqlx, Ecto, pgjdbc,
 * r2dbc, and Vercel's and Supabase's own.
 */
export const driverParameters: ReadonlySet<string> = new Set(
  `schema pgbouncer connection_limit pool_timeout socket_timeout sslaccept sslidentity statement_cache_size max_connection_lifetime
  max_idle_connection_lifetime single_use_connections uselibpqcompat ssl encoding max min idleTimeoutMillis connectionTimeoutMillis
  maxUses allowExitOnIdle statement_timeout query_timeout lock_timeout idle_in_transaction_session_timeout idle_session_timeout
  transaction_timeout keepAlive keepAliveInitialDelayMillis binary idle_timeout max_lifetime max_pipeline prepare fetch_types publications debug
  pool pool_size pool_max pool_min pool_mode pool_recycle pool_pre_ping pool_use_lifo max_overflow echo command_timeout timeout server_settings
  prepared_statement_cache_size prepared_statement_name_func max_cached_statement_lifetime max_cacheable_statement_size async_fallback direct_tls
  target_session_attributes conn_max_age conn_health_checks disable_server_side_cursors prepare_threshold adapter checkout_timeout reaping_frequency
  prepared_statements statement_limit schema_search_path search_path variables min_messages advisory_locks insert_returning driver
  pool_max_conns pool_min_conns pool_min_idle_conns pool_max_conn_lifetime pool_max_conn_lifetime_jitter pool_max_conn_idle_time pool_health_check_period
  default_query_exec_mode statement_cache_capacity description_cache_capacity statement_cache_mode prefer_simple_protocol binary_parameters
  disable_prepared_binary_result timezone TimeZone datestyle DateStyle intervalstyle work_mem role statement-cache-capacity queue_target queue_interval ipv6
  socket_dir currentSchema ApplicationName reWriteBatchedInserts prepareThreshold preparedStatementCacheQueries preparedStatementCacheSizeMiB
  preferQueryMode stringtype loginTimeout connectTimeout socketTimeout tcpKeepAlive targetServerType loadBalanceHosts defaultRowFetchSize
  readOnly readOnlyMode autosave binaryTransfer assumeMinServerVersion gssEncMode cancelSignalTimeout hostRecheckSeconds sslfactory sslResponseTimeout
  charset serverVersion supa workaround sslinline`.split(/\s+/),
)
