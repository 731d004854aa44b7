BEGIN TRANSACTION;
CREATE TABLE agents (
	id TEXT NOT NULL, 
	claw_identifier TEXT, 
	said TEXT NOT NULL, 
	exhaust_reason TEXT, 
	recovery_at INTEGER, 
	last_heartbeat_at INTEGER, 
	registered_at INTEGER NOT NULL, 
	revision INTEGER NOT NULL, 
	PRIMARY KEY (id)
)
 STRICT

;
INSERT INTO "agents" VALUES('dev','claw','idle',NULL,NULL,NULL,1767603600000000,7);
INSERT INTO "agents" VALUES('ops',NULL,'idle',NULL,NULL,NULL,1767603600000000,2);
CREATE TABLE harborcal (
	id INTEGER NOT NULL, 
	schema_version INTEGER NOT NULL, 
	identity TEXT NOT NULL, 
	revision INTEGER NOT NULL, 
	forgotten INTEGER NOT NULL, 
	PRIMARY KEY (id)
)
 STRICT

;
INSERT INTO "harborcal" VALUES(1,1,'0123456789abcdef0123456789abcdef',7,0);
CREATE TABLE owners (
	id TEXT NOT NULL, 
	claw_identifier TEXT NOT NULL, 
	seen_at INTEGER NOT NULL, 
	is_superseded INTEGER NOT NULL, 
	PRIMARY KEY (id)
)
 STRICT

;
CREATE TABLE plan_versions (
	plan_id INTEGER NOT NULL, 
	valid_from TEXT NOT NULL, 
	valid_until TEXT NOT NULL, 
	agent_id TEXT NOT NULL, 
	recurrence TEXT NOT NULL, 
	estimated_duration INTEGER NOT NULL, 
	slot_type TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	event_type TEXT, 
	event_data TEXT, 
	user_id INTEGER, 
	updated_at INTEGER NOT NULL, 
	PRIMARY KEY (plan_id, valid_from)
)
 STRICT

;
INSERT INTO "plan_versions" VALUES(1,'2026-01-05','9999-12-31','dev','{"start": "2026-01-05T13:00:00", "zone": "Europe/Berlin", "rule": "FREQ=WEEKLY;BYDAY=MO,WE", "until": null, "dates": [], "exceptions": []}',20,'work',0,NULL,NULL,NULL,1767603600000000);
CREATE TABLE plans (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	agent_id TEXT NOT NULL, 
	is_cancelled INTEGER NOT NULL, 
	created_at INTEGER NOT NULL
)
 STRICT

;
INSERT INTO "plans" VALUES(1,'dev',0,1767603600000000);
CREATE TABLE slots (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	agent_id TEXT NOT NULL, 
	date TEXT NOT NULL, 
	starts_at INTEGER NOT NULL, 
	ends_at INTEGER NOT NULL, 
	estimated_duration INTEGER NOT NULL, 
	status TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	slot_type TEXT NOT NULL, 
	event_type TEXT, 
	event_data TEXT, 
	started_at INTEGER, 
	ended_at INTEGER, 
	attended INTEGER NOT NULL, 
	actual_duration INTEGER, 
	plan_id INTEGER, 
	plan_date TEXT, 
	virtual_id TEXT, 
	is_admin_locked INTEGER NOT NULL, 
	special_slot_id INTEGER, 
	user_id INTEGER, 
	owner TEXT, 
	sequence INTEGER NOT NULL, 
	created_at INTEGER NOT NULL, 
	updated_at INTEGER NOT NULL, 
	UNIQUE (virtual_id)
)
 STRICT

;
INSERT INTO "slots" VALUES(1,'dev','2026-01-05',1767603600000000,1767605100000000,25,'finished',4,'work','job','{"type":"Task","code":"T-1"}',1767603607000000,1767603600000000,1,12,NULL,NULL,NULL,0,NULL,NULL,NULL,2,1767603600000000,1767603600000000);
INSERT INTO "slots" VALUES(2,'dev','2026-01-07',1767787200000000,1767788400000000,20,'deferred',1,'work',NULL,NULL,NULL,NULL,0,NULL,1,'2026-01-07','plan-1-2026-01-07',0,NULL,NULL,NULL,1,1767603600000000,1767603600000000);
CREATE INDEX owners_of_claw ON owners (claw_identifier);
CREATE INDEX slots_by_date ON slots (date);
CREATE INDEX slots_of_day ON slots (agent_id, date);
CREATE INDEX slots_under_way ON slots (agent_id, status);
CREATE INDEX slots_of_plan ON slots (agent_id, plan_date);
CREATE INDEX plans_of_agent ON plans (agent_id);
CREATE INDEX plan_versions_of_agent ON plan_versions (agent_id, valid_until);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('slots',2);
INSERT INTO "sqlite_sequence" VALUES('plans',1);
COMMIT;
