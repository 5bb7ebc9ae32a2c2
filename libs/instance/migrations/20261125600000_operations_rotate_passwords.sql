-- DBS-32: the password of an instance's database changes by an operation.
ALTER TABLE operations DROP CONSTRAINT operations_kind_check;
ALTER TABLE operations ADD CONSTRAINT operations_kind_check CHECK (kind IN ('create', 'start', 'stop', 'restart', 'suspend', 'unsuspend', 'terminate',
    'undelete', 'purge', 'upgrade', 'apply_resources', 'backup', 'restore', 'move_database', 'rotate_password'));
