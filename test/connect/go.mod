module github.com/pithead/pithead/test/connect

go 1.26.6

require google.golang.org/protobuf v1.36.11
