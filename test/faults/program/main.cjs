'use strict';
console.log('a worker');
