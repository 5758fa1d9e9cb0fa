-- What the application keeps. The table of events is rowcast's; it is made when the feed is opened.
CREATE TABLE IF NOT EXISTS cards (
    id       TEXT PRIMARY KEY,
    title    TEXT NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    state    TEXT NOT NULL CHECK (state IN ('todo', 'doing', 'done')),
    -- A card goes between two others by a number between theirs.
    position REAL NOT NULL,
    by       TEXT
) STRICT;

-- A card as pages see it, in the state of the board and in events.
CREATE VIEW IF NOT EXISTS card_json AS
SELECT id, position,
       json_object('id', id, 'title', title, 'state', state, 'position', position, 'by', by) AS json
  FROM cards;

-- So that you see a page take back what it has shown already.
CREATE TRIGGER IF NOT EXISTS refuse_moves BEFORE UPDATE OF state, position ON cards
WHEN old.title LIKE 'fail%' AND (new.state, new.position) <> (old.state, old.position)
BEGIN
    SELECT RAISE(ABORT, 'the server refuses to move a card whose title begins with "fail"');
END;

INSERT INTO cards (id, title, state, position)
SELECT column1, column2, column3, column4
  FROM (VALUES ('1', 'Open this page in a second tab', 'todo', 1.0),
               ('2', 'Drag a card, or move it with the arrow keys', 'todo', 2.0),
               ('3', 'fail: the server refuses to move this one', 'doing', 1.0),
               ('4', 'Start the board', 'done', 1.0))
 WHERE NOT EXISTS (SELECT * FROM cards);
